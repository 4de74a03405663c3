//! A batch as its writer gives it and as its reader sees it.

/// Commands of one group commit. `payload` holds `count` commands, each a varint length and its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Position of the first command: one past the log's last.
    pub first_position: u64,
    /// Wall time given to the fold, ms since 1970.
    pub time_ms: u64,
    /// Version of the fold that produced the commands.
    pub fold_version: u16,
    /// Number of commands, at least 1.
    pub count: u32,
    /// The commands; see [`put_command`].
    pub payload: Vec<u8>,
}

/// Appends one command to a batch's payload.
pub fn put_command(payload: &mut Vec<u8>, command: &[u8]) {
    let mut length = command.len();
    while length >= 0x80 {
        payload.push(length as u8 | 0x80);
        length >>= 7;
    }
    payload.push(length as u8);
    payload.extend_from_slice(command);
}

/// A verified batch in a reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchView<'a> {
    /// Epoch of the writer.
    pub epoch: u64,
    /// Position of the first command; the others follow without a gap.
    pub first_position: u64,
    /// Wall time given to the fold, ms since 1970.
    pub time_ms: u64,
    /// Version of the fold that produced the commands.
    pub fold_version: u16,
    /// Reserved, 0.
    pub flags: u16,
    /// Number of commands.
    pub count: u32,
    /// The commands with their lengths, as they were appended.
    pub payload: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// The commands in order of their positions.
    pub fn commands(&self) -> Commands<'a> {
        Commands { rest: self.payload }
    }

    /// Position of the last command.
    pub fn last_position(&self) -> u64 {
        self.first_position + u64::from(self.count) - 1
    }
}

/// Iterator over a payload's commands. Ends early where a length does not fit; a `BatchView` never has one such.
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Commands<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, head) = varint(self.rest)?;
        let command = self.rest.get(head..head.checked_add(length)?)?;
        self.rest = &self.rest[head + length..];
        Some(command)
    }
}

/// Whether the payload is exactly `count` commands, at least one.
pub(crate) fn commands_fill(payload: &[u8], count: u32) -> bool {
    let mut commands = Commands { rest: payload };
    let found = commands.by_ref().count();
    count > 0 && found == count as usize && commands.rest.is_empty()
}

/// Value and length in bytes of the varint at the start; at most five bytes, enough for any batch.
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= ((byte & 0x7f) as usize) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_every_length_class_come_back() {
        let commands: Vec<Vec<u8>> = [0, 1, 127, 128, 16_383, 16_384, 2_097_152]
            .map(|n| vec![7; n])
            .into();
        let mut payload = Vec::new();
        for command in &commands {
            put_command(&mut payload, command);
        }
        assert!(commands_fill(&payload, 7));
        assert!(Commands { rest: &payload }.eq(commands.iter().map(Vec::as_slice)));
    }

    #[test]
    fn payload_that_does_not_hold_the_count_is_refused() {
        let mut payload = Vec::new();
        put_command(&mut payload, b"one");
        assert!(!commands_fill(&payload, 2), "too few");
        assert!(!commands_fill(&payload, 0), "too many");
        assert!(!commands_fill(b"", 0), "an empty batch has no position");
        assert!(!commands_fill(&payload[..3], 1), "cut");
        assert!(!commands_fill(&[0xff; 10], 1), "endless length");
    }
}
