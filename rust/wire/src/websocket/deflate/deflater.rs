//! Messages in their compressed form (RFC 7692 section 7.2.1).

use super::TAIL;
use flate2::{Compress, Compression, FlushCompress, Status};

/// Messages below this many bytes are better sent as they are: compressing them costs more time
/// than a few bytes are worth.
pub const COMPRESS_BYTES_MIN: usize = 128;

/// Up to 2 KiB this level is as thorough as the usual 6, beyond it several times as fast.
const LEVEL: u32 = 3;

/// Compresses messages for any number of connections, one after the other.
///
/// Owns about 300 KiB, nothing before its first message.
#[derive(Default)]
pub struct Deflater {
    stream: Option<(u8, Compress)>,
    pub(in super::super) plain: Vec<u8>,
}

impl core::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

impl Deflater {
    /// Appends `message` compressed by itself, with a window of `window_bits` (9 to 15).
    ///
    /// A deflater for one size of window is kept; asking for another size makes a new one.
    pub(in super::super) fn compress(
        &mut self,
        window_bits: u8,
        message: &[u8],
        out: &mut Vec<u8>,
    ) {
        if self
            .stream
            .as_ref()
            .is_some_and(|(bits, _)| *bits != window_bits)
        {
            self.stream = None;
        }
        let (_, stream) = self.stream.get_or_insert_with(|| {
            let level = Compression::new(LEVEL);
            let stream = Compress::new_with_window_bits(level, false, window_bits);
            (window_bits, stream)
        });
        stream.reset();
        let mut rest = message;
        loop {
            // What does not compress needs five bytes a block more, and the flush six.
            out.reserve(rest.len() + rest.len() / 8 + 64);
            let read = stream.total_in();
            let status = stream.compress_vec(rest, out, FlushCompress::Sync);
            rest = rest
                .get((stream.total_in() - read) as usize..)
                .unwrap_or(&[]);
            // The flush is complete when room is left behind it.
            let done = rest.is_empty() && out.len() < out.capacity();
            if done || !matches!(status, Ok(Status::Ok)) {
                break;
            }
        }
        assert!(
            rest.is_empty() && out.ends_with(&TAIL),
            "a compressor takes any bytes"
        );
        out.truncate(out.len() - TAIL.len());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Inflater;
    use super::*;

    #[test]
    fn every_window_and_length_inflates_to_what_it_was() {
        let mut inflater = Inflater::default();
        let mut noise = 1u64;
        // Miri takes minutes for what takes a processor milliseconds.
        let (windows, lengths): (&[u8], &[usize]) = if cfg!(miri) {
            (&[9, 15], &[0, 1, 2, 127, 700])
        } else {
            let lengths = &[0, 1, 2, 127, 128, 5000, 70_000, 300_000];
            (&[9, 10, 11, 12, 13, 14, 15], lengths)
        };
        for &window_bits in windows {
            let mut deflater = Deflater::default();
            for &length in lengths {
                for random in [false, true] {
                    let message: Vec<u8> = (0..length)
                        .map(|at| {
                            noise = noise.wrapping_mul(6_364_136_223_846_793_005) + 1;
                            if random {
                                (noise >> 56) as u8
                            } else {
                                at as u8
                            }
                        })
                        .collect();
                    let mut out = b"before".to_vec();
                    deflater.compress(window_bits, &message, &mut out);
                    let compressed = out.strip_prefix(b"before").expect("appended");
                    let back = inflater.inflate(compressed, length).expect("inflates");
                    assert!(back == message, "{window_bits} bits, {length} bytes");
                    let limit = super::super::compressed_bytes_max(length);
                    assert!(compressed.len() <= limit, "{} bytes", compressed.len());
                }
            }
        }
    }

    #[test]
    fn a_message_does_not_depend_on_the_one_before() {
        let mut deflater = Deflater::default();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        deflater.compress(15, b"the same words, the same words", &mut first);
        deflater.compress(15, b"the same words, the same words", &mut second);
        assert_eq!(first, second);
    }
}
