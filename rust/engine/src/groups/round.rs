//! Runs on their way round the subscribers of a group.
//!
//! ```text
//! subscribers   0 ············ joined ············ at ············ end
//! first run     ■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■■ ──────────────▶
//! second run    ◀── then these     ■■■■■■■■■■■■■■■■■■■ ──────────────▶
//! ```
//! A run that is sealed while another one is under way joins it where that one is, goes on with it
//! to the end of the array and then serves those before. Each subscriber thus gets in one write
//! what is there when its turn comes, and nothing waits for a round to end before it sets off.

use super::Run;
use crate::run::{Mark, View};
use crate::send_queue::Shared;
use imfast_session::Encoding;
use std::collections::VecDeque;
use std::rc::Rc;

/// Runs under way at a time: as many `iovec`s has a write.
const TOGETHER: usize = 2;

/// A sealed run on its way to the subscribers that there were.
pub(super) struct Job {
    /// None where nobody reads that encoding.
    buffers: [Option<Shared>; Encoding::COUNT],
    marks: Vec<Mark>,
    pub senders: Vec<u32>,
    pub frames: u32,
    pub first_position: u64,
    /// When its first message was sent.
    pub born_ms: u64,
    /// Where it set off. Places before it are served after the end.
    joined: usize,
    /// Subscribers when it was sealed.
    end: usize,
    /// It came back to the beginning.
    around: bool,
}

impl Job {
    pub(super) fn new(run: Run, subscribers: usize) -> Self {
        Self {
            buffers: run
                .buffers
                .map(|buffer| (!buffer.is_empty()).then(|| Rc::new(buffer))),
            marks: run.marks,
            senders: run.senders,
            frames: run.frames,
            first_position: run.first_position,
            born_ms: run.born_ms,
            joined: 0,
            end: subscribers,
            around: false,
        }
    }

    pub(super) fn view(&self, encoding: Encoding) -> Option<View<'_>> {
        Some(View {
            buffer: self.buffers[encoding as usize].as_ref()?,
            marks: &self.marks,
            encoding,
            frames: self.frames,
        })
    }

    /// Where this pass over the array ends for it.
    fn bound(&self) -> usize {
        if self.around { self.joined } else { self.end }
    }

    /// Whether all have it once the round is `at` this place.
    fn is_done(&self, at: usize) -> bool {
        at >= self.bound() && (self.around || self.joined == 0)
    }

    /// Whether the subscriber at `place` is yet to get it.
    fn is_due(&self, place: usize, at: usize) -> bool {
        let ahead = (at..self.bound()).contains(&place);
        ahead || (!self.around && place < self.joined)
    }
}

/// The jobs of a group in their order, and how far those under way are.
#[derive(Default)]
pub(super) struct Round {
    jobs: VecDeque<Job>,
    /// How many of them are under way.
    moving: usize,
    /// The place that is served next.
    at: usize,
}

/// Places in a row that get the same jobs.
pub(super) struct Stretch<'a> {
    pub start: usize,
    pub end: usize,
    pub first: &'a Job,
    pub second: Option<&'a Job>,
}

impl Round {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn push(&mut self, job: Job) {
        self.jobs.push_back(job);
    }

    pub(super) fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter()
    }

    /// Jobs that the subscriber at `place` is yet to get, in their order.
    pub(super) fn due(&self, place: usize) -> impl Iterator<Item = &Job> {
        self.jobs.iter().enumerate().filter_map(move |(nth, job)| {
            let at = if nth < self.moving { self.at } else { 0 };
            job.is_due(place, at).then_some(job)
        })
    }

    /// Whether one more job would set off at once.
    pub(super) fn has_room(&self) -> bool {
        self.jobs.len() < TOGETHER
    }

    /// Sets jobs off that wait: one, and with `together` those that have room beside it.
    pub(super) fn set_off(&mut self, together: bool) {
        let room = if together { TOGETHER } else { 1 };
        while self.moving < room
            && let Some(job) = self.jobs.get_mut(self.moving)
        {
            job.joined = self.at;
            self.moving += 1;
        }
    }

    /// The next places, `most` of them or fewer; none without a job under way.
    pub(super) fn next(&self, most: usize) -> Option<Stretch<'_>> {
        let start = self.at;
        let mut due = self.under_way().filter(|job| start < job.bound());
        let (first, second) = (due.next()?, due.next());
        let bound = second.map_or(first.bound(), |second| second.bound().min(first.bound()));
        Some(Stretch {
            start,
            end: bound.min(start.saturating_add(most)),
            first,
            second,
        })
    }

    /// The places before `end` were served.
    pub(super) fn served(&mut self, end: usize) {
        self.at = end;
        self.retire();
        if self.under_way().all(|job| end >= job.bound()) {
            self.at = 0;
            for job in self.jobs.iter_mut().take(self.moving) {
                job.around = true;
            }
            self.retire();
        }
    }

    fn under_way(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().take(self.moving)
    }

    /// Jobs end in the order in which they set off.
    fn retire(&mut self) {
        while self
            .under_way()
            .next()
            .is_some_and(|job| job.is_done(self.at))
        {
            self.jobs.pop_front();
            self.moving -= 1;
        }
    }
}
