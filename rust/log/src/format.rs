//! The bytes of segment headers and batch headers (`spec/log.md`). Little-endian throughout.

/// Newest format version, the one that is written here. Older ones are read.
pub const FORMAT_VERSION: u32 = 2;
/// Length of a segment's header in bytes.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// Length of a batch's header in bytes, the length field included.
pub const BATCH_HEADER_BYTES: usize = 40;
/// Most bytes of commands in one batch.
pub const BATCH_BYTES_MAX: usize = 64 << 20;

/// Bytes that `length` does not count: itself and the checksum.
pub(crate) const BATCH_PREFIX_BYTES: usize = 8;

/// Line endings in it show a transfer that changed them.
const MAGIC: [u8; 8] = *b"IMFLOG\r\n";
const CHECKSUM_AT: usize = SEGMENT_HEADER_BYTES - 4;

/// Header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) partition: u32,
    pub(crate) layout_generation: u64,
    pub(crate) epoch: u64,
    /// Position of the first command in the segment.
    pub(crate) base_position: u64,
    /// Bytes of the predecessor that count; 0 when there is none.
    pub(crate) predecessor_length: u64,
    /// Begins every checksum of the segment's batches, so that what a client writes is never taken
    /// for a batch. 0 in segments of version 1, whose checksums begin with nothing.
    pub(crate) salt: u64,
}

/// Why a header was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Invalid,
    Newer(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.partition.to_le_bytes());
        out[16..24].copy_from_slice(&self.layout_generation.to_le_bytes());
        out[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        out[32..40].copy_from_slice(&self.base_position.to_le_bytes());
        out[40..48].copy_from_slice(&self.predecessor_length.to_le_bytes());
        out[48..56].copy_from_slice(&self.salt.to_le_bytes());
        let checksum = crc32c::crc32c(&out[..CHECKSUM_AT]);
        out[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The version is read before the checksum: a newer format may keep its checksum elsewhere.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        if bytes.len() < 12 || bytes[0..8] != MAGIC {
            return Err(HeaderFault::Invalid);
        }
        let version = u32_at(bytes, 8);
        if version > FORMAT_VERSION {
            return Err(HeaderFault::Newer(version));
        }
        if version == 0
            || bytes.len() < SEGMENT_HEADER_BYTES
            || crc32c::crc32c(&bytes[..CHECKSUM_AT]) != u32_at(bytes, CHECKSUM_AT)
        {
            return Err(HeaderFault::Invalid);
        }
        Ok(Self {
            partition: u32_at(bytes, 12),
            layout_generation: u64_at(bytes, 16),
            epoch: u64_at(bytes, 24),
            base_position: u64_at(bytes, 32),
            predecessor_length: u64_at(bytes, 40),
            salt: if version == 1 { 0 } else { u64_at(bytes, 48) },
        })
    }
}

/// Header of a batch, without length and checksum, which follow from the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) epoch: u64,
    pub(crate) first_position: u64,
    pub(crate) time_ms: u64,
    pub(crate) fold_version: u16,
    pub(crate) flags: u16,
    pub(crate) count: u32,
}

impl BatchHeader {
    /// The caller has checked that the payload has at most `BATCH_BYTES_MAX` bytes.
    pub(crate) fn encode(&self, payload: &[u8], salt: u64) -> [u8; BATCH_HEADER_BYTES] {
        let mut out = [0; BATCH_HEADER_BYTES];
        let length = (BATCH_HEADER_BYTES - BATCH_PREFIX_BYTES + payload.len()) as u32;
        out[0..4].copy_from_slice(&length.to_le_bytes());
        out[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        out[16..24].copy_from_slice(&self.first_position.to_le_bytes());
        out[24..32].copy_from_slice(&self.time_ms.to_le_bytes());
        out[32..34].copy_from_slice(&self.fold_version.to_le_bytes());
        out[34..36].copy_from_slice(&self.flags.to_le_bytes());
        out[36..40].copy_from_slice(&self.count.to_le_bytes());
        let header = crc32c::crc32c_append(seed(salt), &out[BATCH_PREFIX_BYTES..]);
        let checksum = crc32c::crc32c_append(header, payload);
        out[4..8].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads the fields; `bytes` are at least `BATCH_HEADER_BYTES` long. Checks nothing.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        Self {
            epoch: u64_at(bytes, 8),
            first_position: u64_at(bytes, 16),
            time_ms: u64_at(bytes, 24),
            fold_version: u16_at(bytes, 32),
            flags: u16_at(bytes, 34),
            count: u32_at(bytes, 36),
        }
    }
}

/// Whole length of the batch whose first bytes are given, if a batch may be that long.
pub(crate) fn batch_bytes(prefix: &[u8]) -> Option<usize> {
    let whole = u32_at(prefix, 0) as usize + BATCH_PREFIX_BYTES;
    (BATCH_HEADER_BYTES..=BATCH_HEADER_BYTES + BATCH_BYTES_MAX)
        .contains(&whole)
        .then_some(whole)
}

/// Whether the checksum of a whole batch holds in a segment of this salt.
pub(crate) fn batch_checksum_holds(batch: &[u8], salt: u64) -> bool {
    crc32c::crc32c_append(seed(salt), &batch[BATCH_PREFIX_BYTES..]) == u32_at(batch, 4)
}

/// What the checksums of a segment begin with.
fn seed(salt: u64) -> u32 {
    match salt {
        0 => 0,
        salt => crc32c::crc32c(&salt.to_le_bytes()),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        partition: 3,
        layout_generation: 7,
        epoch: 0x0102_0304_0506_0708,
        base_position: 42,
        predecessor_length: 4096,
        salt: 0x1122_3344_5566_7788,
    };

    #[test]
    fn segment_header_survives_encoding() {
        assert_eq!(SegmentHeader::decode(&HEADER.encode()), Ok(HEADER));
    }

    #[test]
    fn segment_header_with_any_flipped_bit_is_refused() {
        for bit in 0..SEGMENT_HEADER_BYTES * 8 {
            let mut bytes = HEADER.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn segment_header_of_a_newer_version_is_named_even_with_another_checksum() {
        let mut bytes = HEADER.encode();
        bytes[8] = 3;
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Newer(3)));
    }

    #[test]
    fn batch_header_has_the_layout_of_the_specification() {
        let header = BatchHeader {
            epoch: 1,
            first_position: 2,
            time_ms: 3,
            fold_version: 4,
            flags: 5,
            count: 6,
        };
        let mut bytes = header.encode(b"payload", 0).to_vec();
        bytes.extend_from_slice(b"payload");
        assert_eq!(bytes[0..4], 39u32.to_le_bytes());
        assert_eq!(bytes[4..8], crc32c::crc32c(&bytes[8..]).to_le_bytes());
        assert_eq!(bytes[8..16], 1u64.to_le_bytes());
        assert_eq!(bytes[36..40], 6u32.to_le_bytes());
        assert_eq!(BatchHeader::decode(&bytes), header);
        assert!(batch_checksum_holds(&bytes, 0));
        assert!(!batch_checksum_holds(&bytes, 9));
        let mut salted = header.encode(b"payload", 9).to_vec();
        salted.extend_from_slice(b"payload");
        assert!(batch_checksum_holds(&salted, 9) && !batch_checksum_holds(&salted, 0));
        assert_eq!(batch_bytes(&bytes), Some(bytes.len()));
    }

    #[test]
    fn zeros_are_no_batch() {
        assert_eq!(
            batch_bytes(&[0; 64]),
            None,
            "the checksum of nothing is 0, so the length must refuse it"
        );
    }
}
