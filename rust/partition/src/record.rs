//! The packed records that the sequencer numbers: one cache line for each command.

/// Kinds of records, as the sequencer distinguishes them.
pub mod kind {
    /// Numbered, counts as content.
    pub const MESSAGE: u8 = 0;
    /// Numbered, not content.
    pub const EVENT: u8 = 1;
    /// Takes a position and no number.
    pub const UNNUMBERED: u8 = 2;
}

/// Verdicts, going in (0, 1) and coming out (2 to 6).
pub mod verdict {
    pub const ALLOWED: u8 = 0;
    pub const FORBIDDEN: u8 = 1;
    pub const NEW: u8 = 2;
    pub const DUPLICATE: u8 = 3;
    pub const CONFLICT: u8 = 4;
    pub const REFUSED: u8 = 5;
    pub const ACCEPTED: u8 = 6;
}

/// One record. Integers only and no padding, so that the sequencer may write any bytes into it.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// Hash of (tenant, conversation, sender, key); both halves 0 without a key.
    pub key_high: u64,
    pub key_low: u64,
    /// Hash of the content, to tell a retry from a conflict.
    pub payload: u64,
    /// Dense index of the conversation in its partition.
    pub conversation: u32,
    /// See [`kind`].
    pub kind: u8,
    /// See [`verdict`].
    pub verdict: u8,
    pub reserved: u16,
    /// In: when the key says that it was made, or 0. Out: the number, new or of the first result.
    pub seq: u64,
    /// In: the id given by the log, or 0. Out: the id, new or of the first result.
    pub message_id: u64,
    /// Out: the position, new or of the first result.
    pub position: u64,
    /// In: the batch's time. Out, for a duplicate: the first result's time.
    pub time_ms: u64,
}

/// Bytes of one record.
pub const RECORD_BYTES: usize = size_of::<Record>();
const _: () = assert!(RECORD_BYTES == 64);

/// The records as one writable buffer.
pub(crate) fn bytes_mut(records: &mut [Record]) -> &mut [u8] {
    let length = size_of_val(records);
    // SAFETY: `Record` is `repr(C)`, its fields are integers that fill all 64 bytes, so every byte
    // is initialised and any value written is a valid record; the borrow covers the whole slice.
    unsafe { core::slice::from_raw_parts_mut(records.as_mut_ptr().cast::<u8>(), length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_written_at_the_documented_offsets_are_the_fields() {
        let mut records = [Record::default(); 2];
        let bytes = bytes_mut(&mut records);
        assert_eq!(bytes.len(), 128);
        for (offset, byte) in bytes.iter_mut().enumerate() {
            *byte = offset as u8;
        }
        let word = |offset: u8| u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|b| b + offset));
        let second = records[1];
        assert_eq!(
            (second.key_high, second.key_low, second.payload),
            (word(64), word(72), word(80))
        );
        assert_eq!(second.conversation, word(88) as u32);
        assert_eq!(
            (second.kind, second.verdict, second.reserved),
            (92, 93, 0x5f5e)
        );
        assert_eq!((second.seq, second.message_id), (word(96), word(104)));
        assert_eq!((second.position, second.time_ms), (word(112), word(120)));
    }
}
