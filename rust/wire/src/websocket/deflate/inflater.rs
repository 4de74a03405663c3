//! Messages back from their compressed form (RFC 7692 section 7.2.2).

use super::super::ErrorKind;
use super::TAIL;
use flate2::{Decompress, FlushDecompress, Status};

/// An empty last block. DEFLATE data is complete if, and only if, it ends right behind one.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];
/// Room that is made at first; most messages need no more.
const ROOM_BYTES: usize = 4096;

/// Inflates the messages of any number of connections, one after the other.
///
/// Owns about 40 KiB and the largest message so far, nothing before its first one.
#[derive(Default)]
pub struct Inflater {
    stream: Option<Decompress>,
    message: Vec<u8>,
}

impl core::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

impl Inflater {
    /// Inflates one whole message of at most `message_bytes_max` bytes.
    ///
    /// No more memory than that is spent, whatever `compressed` would inflate to.
    pub(in super::super) fn inflate(
        &mut self,
        compressed: &[u8],
        message_bytes_max: usize,
    ) -> Result<&[u8], ErrorKind> {
        let stream = self.stream.get_or_insert_with(|| Decompress::new(false));
        stream.reset(false);
        self.message.clear();
        let mut ended = false;
        for (at, mut part) in [compressed, &TAIL, &LAST_BLOCK].into_iter().enumerate() {
            // The sender may have left out the padding that the RFC puts behind a last block.
            if at == 1 && ended {
                break;
            }
            while !part.is_empty() {
                // A sender may end the data with a last block and go on behind it (7.2.3.4).
                if ended {
                    stream.reset(false);
                }
                ended = feed(stream, &mut part, &mut self.message, message_bytes_max)?;
            }
        }
        if ended {
            Ok(&self.message)
        } else {
            Err(ErrorKind::Deflate)
        }
    }
}

/// Inflates until `input` or the data ends; returns whether the data did.
fn feed(
    stream: &mut Decompress,
    input: &mut &[u8],
    message: &mut Vec<u8>,
    message_bytes_max: usize,
) -> Result<bool, ErrorKind> {
    loop {
        if message.len() == message.capacity() {
            // At most one byte over the limit, which tells that it is exceeded.
            let room = (message.len() * 2).max(ROOM_BYTES);
            message.reserve_exact(room.min(message_bytes_max + 1) - message.len());
        }
        let before = (stream.total_in(), stream.total_out());
        let status = stream
            .decompress_vec(input, message, FlushDecompress::None)
            .map_err(|_| ErrorKind::Deflate)?;
        if message.len() > message_bytes_max {
            return Err(ErrorKind::MessageTooBig {
                length: message.len() as u64,
                limit: message_bytes_max,
            });
        }
        let read = stream.total_in() - before.0;
        *input = input.get(read as usize..).unwrap_or(&[]);
        if status == Status::StreamEnd {
            return Ok(true);
        }
        // With room left, all that the input holds has been written.
        if message.len() < message.capacity() {
            if input.is_empty() {
                return Ok(false);
            }
            if before == (stream.total_in(), stream.total_out()) {
                return Err(ErrorKind::Deflate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(compressed: &[u8]) -> Result<String, ErrorKind> {
        let mut inflater = Inflater::default();
        let message = inflater.inflate(compressed, 1000)?;
        Ok(String::from_utf8_lossy(message).into_owned())
    }

    #[test]
    fn section_7_2_3_the_examples_inflate() {
        let compressed = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(inflate(&compressed).as_deref(), Ok("Hello"));
        // A stored block.
        let stored = [
            0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
        ];
        assert_eq!(inflate(&stored).as_deref(), Ok("Hello"));
        // A last block, and the padding behind it.
        let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        assert_eq!(inflate(&last).as_deref(), Ok("Hello"));
        // Two blocks.
        let two = [
            0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
        ];
        assert_eq!(inflate(&two).as_deref(), Ok("Hello"));
        // An empty message.
        assert_eq!(inflate(&[0x00]).as_deref(), Ok(""));
    }

    #[test]
    fn a_last_block_may_lack_its_padding_and_may_be_followed_by_more() {
        let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(inflate(&last).as_deref(), Ok("Hello"));
        let twice = [&last[..], &last, &[0x00]].concat();
        assert_eq!(inflate(&twice).as_deref(), Ok("HelloHello"));
    }

    #[test]
    fn what_is_cut_or_no_deflate_data_is_an_error() {
        let compressed = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        for cut in 0..compressed.len() - 1 {
            assert_eq!(
                inflate(&compressed[..cut]),
                Err(ErrorKind::Deflate),
                "{cut}"
            );
        }
        assert_eq!(inflate(&[0xff, 0xff]), Err(ErrorKind::Deflate));
    }

    #[test]
    fn a_bomb_is_refused_before_it_takes_more_memory_than_a_message_may() {
        // Miri takes a second for some thousand bytes.
        let (bytes, limit) = if cfg!(miri) {
            (50_000, 1_000)
        } else {
            (10_000_000, 100_000)
        };
        let mut deflater = super::super::Deflater::default();
        let mut bomb = Vec::new();
        deflater.compress(15, &vec![0; bytes], &mut bomb);
        assert!(bomb.len() < bytes / 200, "{} bytes", bomb.len());
        let mut inflater = Inflater::default();
        let length = limit as u64 + 1;
        let refused = inflater.inflate(&bomb, limit).map(drop);
        assert_eq!(refused, Err(ErrorKind::MessageTooBig { length, limit }));
        assert!(inflater.message.capacity() <= limit + 1);
        assert_eq!(inflater.inflate(&[0x00], limit), Ok(&[][..]));
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        let mut deflater = super::super::Deflater::default();
        let longest = if cfg!(miri) { 9_000 } else { 100_000 }; // as above
        for length in [0, 1, 4095, 4096, 4097, longest] {
            let message = vec![7; length];
            let mut compressed = Vec::new();
            deflater.compress(15, &message, &mut compressed);
            let mut inflater = Inflater::default();
            assert_eq!(inflater.inflate(&compressed, length), Ok(&message[..]));
            if length > 0 {
                let refused = inflater.inflate(&compressed, length - 1).map(drop);
                assert!(matches!(refused, Err(ErrorKind::MessageTooBig { .. })));
            }
        }
    }
}
