//! Frames between workers.
//!
//! ```text
//! u32 length of the rest │ u8 kind │ u8 check │ u16 partition │ u64 epoch │ u64 number │ payload
//! ```
//! Little-endian. `check` makes the XOR of all header bytes 0: a damaged length would have the
//! reader wait for bytes that never come, a damaged partition would have a row stored in the
//! wrong log. `number` counts the frames of one direction of one link from 1: a gap means
//! that a frame was lost, and the link is broken and made good. `epoch` is the partition's, so
//! that what a former owner sent late is refused.

/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 24;
/// Where the check byte stands.
const CHECK_AT: usize = 5;
/// A frame longer than this is not ours.
pub(super) const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// `partition` of frames that concern none.
pub(super) const NO_PARTITION: u16 = u16::MAX;

/// What a frame says. Those below 16 go from a gateway to an owner, the others back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// First frame: who dials, and its watermarks.
    Hello = 1,
    /// A command for the log.
    Command = 2,
    /// A message that is neither stored nor numbered.
    Ephemeral = 3,
    Query = 4,
    /// Nothing new: shows the peer the last number.
    Beat = 5,
    /// How far a device has come, or its user has read.
    Cursor = 6,
    /// A session takes its seat, or leaves it.
    Seat = 7,
    /// A session whose seat was taken is not served any more.
    Unseated = 8,
    /// How a user stands on the worker, or whom it watches.
    Presence = 9,
    /// Answer to `Hello`: the owner's partitions, their epochs and positions.
    Welcome = 16,
    /// Answer to a command, an ephemeral message or a query.
    Reply = 17,
    /// A committed row that concerns the worker.
    Deliver = 18,
    /// An ephemeral message that concerns the worker.
    DeliverEphemeral = 19,
    /// All that concerns the worker up to this position was sent.
    Watermark = 20,
    /// A receipt or somebody's presence, for users of the worker.
    Notice = 21,
    /// A newer session took the seat of one of the worker's.
    Unseat = 22,
    /// How a user stands whom the worker watches.
    Stands = 23,
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Command,
            3 => Self::Ephemeral,
            4 => Self::Query,
            5 => Self::Beat,
            6 => Self::Cursor,
            7 => Self::Seat,
            8 => Self::Unseated,
            9 => Self::Presence,
            16 => Self::Welcome,
            17 => Self::Reply,
            18 => Self::Deliver,
            19 => Self::DeliverEphemeral,
            20 => Self::Watermark,
            21 => Self::Notice,
            22 => Self::Unseat,
            23 => Self::Stands,
            _ => return None,
        })
    }
}

/// A received frame, borrowed from the link's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub kind: Kind,
    pub partition: u16,
    pub epoch: u64,
    pub number: u64,
    pub payload: &'a [u8],
}

/// Bytes that are no frame of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Appends a frame whose payload `write` appends.
pub(super) fn write(
    out: &mut Vec<u8>,
    kind: Kind,
    partition: u16,
    epoch: u64,
    number: u64,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind as u8, 0]);
    out.extend_from_slice(&partition.to_le_bytes());
    out.extend_from_slice(&epoch.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    write(out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    out[at + CHECK_AT] = sum(&out[at..at + HEADER_BYTES]);
}

/// XOR of a header's bytes: 0 for one that arrived as it was written.
fn sum(header: &[u8]) -> u8 {
    header.iter().fold(0, |all, byte| all ^ byte)
}

/// Reads the frame at the start of `input`; `None` when it is not complete. The second value is
/// its whole length.
pub(super) fn read(input: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    let Some((header, _)) = input.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    if sum(header) != 0 {
        return Err(Malformed);
    }
    let number_at = |at: usize, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&header[at..at + len]);
        u64::from_le_bytes(bytes)
    };
    let end = number_at(0, 4) as usize + 4;
    if !(HEADER_BYTES..=FRAME_BYTES_MAX).contains(&end) {
        return Err(Malformed);
    }
    let Some(payload) = input.get(HEADER_BYTES..end) else {
        return Ok(None);
    };
    let kind = Kind::parse(header[4]).ok_or(Malformed)?;
    let frame = Frame {
        kind,
        partition: number_at(6, 2) as u16,
        epoch: number_at(8, 8),
        number: number_at(16, 8),
        payload,
    };
    Ok(Some((frame, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_whole_and_only_whole() {
        let mut out = Vec::new();
        write(&mut out, Kind::Deliver, 7, 3, 99, |o| {
            o.extend_from_slice(b"payload");
        });
        for cut in 0..out.len() {
            assert_eq!(read(&out[..cut]), Ok(None));
        }
        let expected = Frame {
            kind: Kind::Deliver,
            partition: 7,
            epoch: 3,
            number: 99,
            payload: b"payload",
        };
        assert_eq!(read(&out), Ok(Some((expected, out.len()))));
    }

    #[test]
    fn any_one_damaged_byte_of_the_header_is_noticed_before_the_payload_is_waited_for() {
        let mut out = Vec::new();
        write(&mut out, Kind::Deliver, 7, 3, 99, |_| {});
        for at in 0..HEADER_BYTES {
            for bit in 0..8 {
                let mut damaged = out.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(read(&damaged), Err(Malformed), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn lengths_and_kinds_that_are_not_ours_are_refused() {
        let mut out = Vec::new();
        write(&mut out, Kind::Beat, NO_PARTITION, 0, 1, |_| {});
        // Changes of two bytes that the check does not show.
        let changed = |at: usize, value: u8| {
            let mut bytes = out.clone();
            bytes[CHECK_AT] ^= bytes[at] ^ value;
            bytes[at] = value;
            read(&bytes).map(|found| found.map(|(frame, length)| (frame.kind, length)))
        };
        assert_eq!(changed(4, 5), Ok(Some((Kind::Beat, HEADER_BYTES))));
        assert_eq!(changed(0, 3), Err(Malformed), "shorter than a header");
        assert_eq!(changed(3, 0xff), Err(Malformed), "longer than any frame");
        assert_eq!(changed(4, 200), Err(Malformed), "no kind");
    }
}
