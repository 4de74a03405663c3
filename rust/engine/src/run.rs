//! Frames encoded once for all subscribers of a group, on their way to each of them.

use crate::send_queue::Shared;
use imfast_session::Encoding;

/// What becomes of a frame of a group that somebody does not take in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The row at this position, at least 1: it is delivered, or the connection ends.
    Durable(u64),
    /// A newer one with the same key makes it worthless. `sender` is the connection that sent it
    /// and does not get it, if it is here.
    Ephemeral { key: u64, sender: Option<u32> },
}

/// Nobody here.
const ELSEWHERE: u32 = u32::MAX;

/// An ephemeral frame of a run.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    key: u64,
    sender: u32,
    /// Frames of the run before it.
    index: u32,
    start: [u32; Encoding::COUNT],
    end: [u32; Encoding::COUNT],
}

/// Frames encoded and not yet given to anybody.
#[derive(Default)]
pub(crate) struct Run {
    pub buffers: [Vec<u8>; Encoding::COUNT],
    pub marks: Vec<Mark>,
    /// The connections here that sent some of it.
    pub senders: Vec<u32>,
    pub frames: u32,
    /// Position of the first durable frame; 0 without one.
    pub first_position: u64,
    /// When the first frame's message was sent, in milliseconds since 1970.
    pub born_ms: u64,
}

impl Run {
    /// Counts the frame that was just written behind `start` in each buffer.
    pub(crate) fn count(&mut self, class: Class, start: [u32; Encoding::COUNT]) {
        match class {
            Class::Durable(position) => {
                if self.first_position == 0 {
                    self.first_position = position;
                }
            }
            Class::Ephemeral { key, sender } => {
                let end = std::array::from_fn(|at| self.buffers[at].len() as u32);
                self.marks.push(Mark {
                    key,
                    sender: sender.unwrap_or(ELSEWHERE),
                    index: self.frames,
                    start,
                    end,
                });
                if let Some(slot) = sender
                    && !self.senders.contains(&slot)
                {
                    self.senders.push(slot);
                }
            }
        }
        self.frames += 1;
    }
}

/// A finished run in the encoding of one connection.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub buffer: &'a Shared,
    pub marks: &'a [Mark],
    pub encoding: Encoding,
    pub frames: u32,
}

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub start: usize,
    pub end: usize,
    pub frames: u32,
    /// Of a single ephemeral frame.
    pub key: Option<u64>,
}

impl Part {
    fn plain(start: usize, end: usize, frames: u32) -> Self {
        Self {
            start,
            end,
            frames,
            key: None,
        }
    }
}

impl View<'_> {
    /// Frames that `slot` did not send itself.
    pub(crate) fn frames_for(&self, slot: u32) -> u32 {
        let own = self.marks.iter().filter(|mark| mark.sender == slot);
        self.frames - own.count() as u32
    }

    /// Calls `take` with every part of the run that `slot` did not send itself: ephemeral frames
    /// one by one, what stands between them in one piece.
    pub(crate) fn for_each_part(&self, slot: u32, mut take: impl FnMut(Part)) {
        let at = self.encoding as usize;
        let (mut start, mut frames) = (0, 0);
        for mark in self.marks {
            let (from, to) = (mark.start[at] as usize, mark.end[at] as usize);
            if start < from {
                take(Part::plain(start, from, mark.index - frames));
            }
            if mark.sender != slot {
                take(Part {
                    start: from,
                    end: to,
                    frames: 1,
                    key: Some(mark.key),
                });
            }
            (start, frames) = (to, mark.index + 1);
        }
        if start < self.buffer.len() {
            take(Part::plain(start, self.buffer.len(), self.frames - frames));
        }
    }
}
