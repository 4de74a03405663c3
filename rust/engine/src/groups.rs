//! Groups with subscribers on this worker, and the fan-out to them.
//!
//! Frames for a group are encoded once per encoding into its open run. When the run is sealed it
//! becomes a job: a shared buffer and the range of the subscriber array that gets it. Jobs are
//! worked off in slices, group by group in turn; what arrives meanwhile gathers in the next open
//! run, which joins the job that is under way ([`round`]), so that coalescing grows with load by
//! itself and no flush deadline is needed.
//!
//! Who gets a frame is decided when it is appended: later subscribers stand behind the job's
//! range, and one that leaves is first given what it has not been given yet.

mod round;

use crate::config::Coalesce;
use crate::connection::{Phase, Subscription};
use crate::io::Io;
use crate::run::{Class, Run};
use hashbrown::HashMap;
use imfast_session::{Encoding, Writer};
use imfast_wire::frames::server::ServerFrame;
use round::{Job, Round};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

/// A subscriber's place that was vacated while a job ran.
const HOLE: u32 = u32::MAX;

/// Sockets that are written between two looks for batches that became durable, at least,
const LOOK_SOCKETS: usize = 64;
/// and that part of a group: looking costs nothing, but each batch that it finds costs a commit.
const LOOK_PART: usize = 8;

/// Vacated places of a group that are put up with, as a part of its subscribers.
const HOLES_PART: usize = 8;

/// Connections that have answers waiting get them before a fan-out to this many times as many sockets:
/// their next requests are then on their way during it. For more of them it would be two writes to
/// too many, of which one can carry both.
const ANSWERS_PART: usize = 8;

/// How much of the fan-outs one tick does.
#[derive(Clone, Copy)]
pub(crate) struct Slice {
    /// Sockets that one group may have written before another group's turn.
    pub sockets: usize,
    /// When the loop gets its turn.
    pub deadline: Instant,
    /// Engine milliseconds, by which open runs age.
    pub now_ms: u64,
    /// Milliseconds since 1970, by which messages do.
    pub wall_ms: u64,
    /// Whether answers go before a large fan-out: those to durable sends. Those to ephemeral ones
    /// are what paces their sender, and wait for it.
    pub answers_first: bool,
}

/// One group as this worker sees it.
pub(crate) struct LocalGroup {
    pub key: Rc<str>,
    pub partition: u16,
    /// Key in the node's route table.
    pub route: u64,
    /// Value of the route clock when this worker's bit was set.
    pub routed_at: u64,
    /// Every row behind this position reaches this worker; `u64::MAX` until a page proved it.
    pub covered_from: u64,
    /// Attaches that need the route although nobody is subscribed yet.
    pub holds: u32,
    subscribers: Vec<u32>,
    live: u32,
    by_encoding: [u32; Encoding::COUNT],
    open: Run,
    round: Round,
    scheduled: bool,
}

impl LocalGroup {
    /// Whether the open run may set off beside the job under way. Places of leavers are closed
    /// between two rounds only: with many of them the round under way is the last one for now.
    fn may_join(&self) -> bool {
        let holes = self.subscribers.len() - self.live as usize;
        self.open.frames > 0 && self.round.has_room() && holes <= self.live as usize / HOLES_PART
    }

    fn idle(&self) -> bool {
        self.round.is_empty() && self.open.frames == 0
    }
}

/// The groups of this worker by conversation key.
#[derive(Default)]
pub(crate) struct Groups {
    by_key: HashMap<Rc<str>, u32>,
    slab: crate::slab::Slab<LocalGroup>,
    writer: Writer,
    /// Groups with jobs, in turn.
    active: VecDeque<u32>,
    /// Groups with an open run and no job.
    opened: Vec<u32>,
    coalesce: Coalesce,
    /// When the messages that are appended now were sent, in milliseconds since 1970.
    pub born_ms: u64,
    /// When the oldest open run that is held back was first seen.
    held_since_ms: Option<u64>,
}

impl Groups {
    pub(crate) fn new(coalesce: Coalesce) -> Self {
        Self {
            coalesce,
            ..Self::default()
        }
    }

    pub(crate) fn find(&self, key: &str) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn get(&self, group: u32) -> Option<&LocalGroup> {
        self.slab.get(group)
    }

    pub(crate) fn get_mut(&mut self, group: u32) -> Option<&mut LocalGroup> {
        self.slab.get_mut(group)
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Adds a group nobody on this worker had; the caller has set its route.
    pub(crate) fn insert(&mut self, key: &str, partition: u16, route: u64, routed_at: u64) -> u32 {
        let key: Rc<str> = key.into();
        let handle = self.slab.insert(LocalGroup {
            key: Rc::clone(&key),
            partition,
            route,
            routed_at,
            covered_from: u64::MAX,
            holds: 0,
            subscribers: Vec::new(),
            live: 0,
            by_encoding: [0; Encoding::COUNT],
            open: Run::default(),
            round: Round::default(),
            scheduled: false,
        });
        self.by_key.insert(key, handle.slot);
        handle.slot
    }

    /// Forgets a group without subscribers and holds. Returns its route key for clearing.
    pub(crate) fn remove_unused(&mut self, group: u32) -> Option<u64> {
        let entry = self.slab.get(group)?;
        if entry.live > 0 || entry.holds > 0 {
            return None;
        }
        let entry = self.slab.remove(group)?;
        self.by_key.remove(&entry.key);
        self.active.retain(|g| *g != group);
        self.opened.retain(|g| *g != group);
        Some(entry.route)
    }

    /// Makes a connection a subscriber from the next frame on.
    pub(crate) fn subscribe(&mut self, io: &mut Io, group: u32, slot: u32) {
        let Some(entry) = self.slab.get_mut(group) else {
            return;
        };
        let Some(connection) = io.connections.get_mut(slot) else {
            return;
        };
        if connection.subscriptions.iter().any(|s| s.group == group) {
            return;
        }
        // Frames already encoded are not for the newcomer.
        if entry.open.frames > 0 {
            seal(entry);
            schedule(entry, group, &mut self.active);
        }
        let index = entry.subscribers.len() as u32;
        entry.subscribers.push(slot);
        entry.live += 1;
        entry.by_encoding[connection.encoding as usize] += 1;
        connection.subscriptions.push(Subscription { group, index });
    }

    /// Ends a subscription. With `settle` the connection first gets every frame that was appended
    /// while it was subscribed.
    pub(crate) fn unsubscribe(&mut self, io: &mut Io, group: u32, slot: u32, settle: bool) {
        let Some(entry) = self.slab.get_mut(group) else {
            return;
        };
        let Some(connection) = io.connections.get_mut(slot) else {
            return;
        };
        let encoding = connection.encoding;
        let Some(at) = connection
            .subscriptions
            .iter()
            .position(|s| s.group == group)
        else {
            return;
        };
        let index = connection.subscriptions.swap_remove(at).index as usize;
        if settle {
            if entry.open.frames > 0 {
                seal(entry);
                schedule(entry, group, &mut self.active);
            }
            for job in entry.round.due(index) {
                settle_one(io, slot, encoding, job);
            }
        }
        entry.live -= 1;
        entry.by_encoding[encoding as usize] -= 1;
        if entry.round.is_empty() {
            entry.subscribers.swap_remove(index);
            if let Some(&moved) = entry.subscribers.get(index) {
                renumber(io, moved, group, index as u32);
            }
        } else {
            entry.subscribers[index] = HOLE;
        }
    }

    /// Encodes a frame for a group's subscribers.
    pub(crate) fn append(&mut self, group: u32, frame: &ServerFrame<'_>, class: Class) {
        let Some(entry) = self.slab.get_mut(group) else {
            return;
        };
        if entry.live == 0 {
            return;
        }
        let run = &mut entry.open;
        if run.frames == 0 {
            run.born_ms = self.born_ms;
        }
        let mut start = [0; Encoding::COUNT];
        for encoding in Encoding::PUSHED {
            let at = encoding as usize;
            start[at] = run.buffers[at].len() as u32;
            if entry.by_encoding[at] > 0 {
                encoding.write(frame, &mut self.writer, &mut run.buffers[at]);
            }
        }
        run.count(class, start);
        if self.coalesce == Coalesce::Never {
            seal(entry);
            schedule(entry, group, &mut self.active);
        } else if run.frames == 1 && entry.round.is_empty() {
            self.opened.push(group);
        }
    }

    /// Works off one slice of the jobs, which ends early where `durable` says that a batch of a log
    /// waits: the sooner the next one begins, the more of its way to the disk is during the rest of
    /// the fan-out, and not while nothing is left to be done. Returns whether work is left.
    pub(crate) fn run(
        &mut self,
        io: &mut Io,
        bounds: Slice,
        due: &mut Vec<u32>,
        durable: impl Fn() -> bool,
    ) -> bool {
        let opened = if self.hold(bounds.now_ms) {
            Vec::new()
        } else {
            std::mem::take(&mut self.opened)
        };
        for group in opened {
            if let Some(entry) = self.slab.get_mut(group)
                && entry.open.frames > 0
            {
                seal(entry);
                schedule(entry, group, &mut self.active);
            }
        }
        if bounds.answers_first && io.waiting() * ANSWERS_PART <= self.sockets_ahead() {
            io.flush_dirty();
        }
        while let Some(group) = self.active.pop_front() {
            let Some(entry) = self.slab.get_mut(group) else {
                continue;
            };
            entry.scheduled = false;
            let together = self.coalesce != Coalesce::Never;
            if together && entry.may_join() {
                seal(entry);
            }
            entry.round.set_off(together);
            io.delivered(0);
            slice(entry, io, bounds, due, &durable);
            if entry.round.is_empty() {
                compact(entry, group, io);
                if entry.open.frames > 0 {
                    seal(entry);
                }
            }
            if !entry.round.is_empty() {
                schedule(entry, group, &mut self.active);
            }
            if Instant::now() >= bounds.deadline || durable() {
                break;
            }
        }
        !self.active.is_empty()
    }

    /// Sockets that the next jobs will write to, as far as that matters.
    fn sockets_ahead(&self) -> usize {
        const GROUPS: usize = 16;
        let groups = self.active.iter().take(GROUPS);
        let sockets = |group: &u32| self.slab.get(*group).map_or(0, |entry| entry.live as usize);
        groups.map(sockets).sum()
    }

    /// Whether open runs wait for more.
    fn hold(&mut self, now_ms: u64) -> bool {
        let Coalesce::Within(wait_ms) = self.coalesce else {
            return false;
        };
        if self.opened.is_empty() {
            return false;
        }
        let since_ms = *self.held_since_ms.get_or_insert(now_ms);
        let hold = now_ms < since_ms + wait_ms;
        if !hold {
            self.held_since_ms = None;
        }
        hold
    }

    /// When runs that are held back are due, in engine milliseconds.
    pub(crate) fn held_until_ms(&self) -> Option<u64> {
        match (self.held_since_ms, self.coalesce) {
            (Some(since_ms), Coalesce::Within(wait_ms)) => Some(since_ms + wait_ms),
            _ => None,
        }
    }

    /// Lowest position of `partition` that some subscriber has not been given yet.
    pub(crate) fn lowest_unfinished(&self, partition: u16) -> Option<u64> {
        let of = |group: &u32| {
            let entry = self.slab.get(*group)?;
            if entry.partition != partition || entry.idle() {
                return None;
            }
            let jobs = entry.round.jobs().map(|j| j.first_position);
            jobs.chain([entry.open.first_position])
                .filter(|p| *p > 0)
                .min()
        };
        self.active.iter().chain(&self.opened).filter_map(of).min()
    }
}

fn schedule(entry: &mut LocalGroup, group: u32, active: &mut VecDeque<u32>) {
    if !entry.scheduled {
        entry.scheduled = true;
        active.push_back(group);
    }
}

fn seal(entry: &mut LocalGroup) {
    let run = std::mem::take(&mut entry.open);
    if entry.subscribers.is_empty() {
        return; // all to whom it was to go have left, and a job without an end would have none
    }
    entry.round.push(Job::new(run, entry.subscribers.len()));
}

/// Gives the jobs under way to the next subscribers, `sockets` at most, and fewer where a batch is
/// `durable` meanwhile.
fn slice(
    entry: &mut LocalGroup,
    io: &mut Io,
    bounds: Slice,
    due: &mut Vec<u32>,
    durable: impl Fn() -> bool,
) {
    let mut sockets = bounds.sockets;
    let between_looks = LOOK_SOCKETS.max(entry.subscribers.len() / LOOK_PART);
    while let Some(stretch) = entry.round.next(sockets.min(between_looks)) {
        let places = &entry.subscribers[stretch.start..stretch.end];
        match (stretch.first, stretch.second) {
            (job, None) => {
                let rows = job.first_position > 0;
                for_each_connected(places, io, rows, due, |io, slot, encoding| {
                    deliver(io, slot, encoding, job);
                });
            }
            (job, Some(other)) => {
                let rows = job.first_position > 0 || other.first_position > 0;
                for_each_connected(places, io, rows, due, |io, slot, encoding| {
                    deliver_both(io, slot, encoding, job, other);
                });
            }
        }
        // Of two runs the first is the older.
        io.delivered(bounds.wall_ms.saturating_sub(stretch.first.born_ms));
        let end = stretch.end;
        sockets -= end - stretch.start;
        entry.round.served(end);
        if sockets == 0 || durable() {
            break;
        }
    }
}

/// Calls `give` for those of `places` that are connected. `rows`: what they get counts in their tokens.
#[inline]
fn for_each_connected(
    places: &[u32],
    io: &mut Io,
    rows: bool,
    due: &mut Vec<u32>,
    mut give: impl FnMut(&mut Io, u32, Encoding),
) {
    for &slot in places {
        let Some(connection) = io.connections.get_mut(slot) else {
            continue;
        };
        if connection.phase != Phase::Connected {
            continue;
        }
        if rows && !connection.checkpoint_due {
            connection.checkpoint_due = true;
            due.push(slot);
        }
        let encoding = connection.encoding;
        give(io, slot, encoding);
    }
}

/// Gives one connection all frames of a job but those it sent itself.
#[inline]
fn deliver(io: &mut Io, slot: u32, encoding: Encoding, job: &Job) {
    let Some(run) = job.view(encoding) else {
        return;
    };
    let own = job.senders.contains(&slot);
    let frames = if own {
        run.frames_for(slot)
    } else {
        job.frames
    };
    io.stats.deliveries += u64::from(frames);
    io.push_run(slot, &run, own);
}

/// [`deliver`] out of line: where it is rare, so that the loop over subscribers keeps a copy inline.
#[inline(never)]
fn settle_one(io: &mut Io, slot: u32, encoding: Encoding, job: &Job) {
    deliver(io, slot, encoding, job);
}

/// The same of two jobs, in one write where that is possible.
fn deliver_both(io: &mut Io, slot: u32, encoding: Encoding, first: &Job, second: &Job) {
    let own = first.senders.contains(&slot) || second.senders.contains(&slot);
    let (false, Some(one), Some(other)) = (own, first.view(encoding), second.view(encoding)) else {
        settle_one(io, slot, encoding, first);
        return settle_one(io, slot, encoding, second);
    };
    io.stats.deliveries += u64::from(first.frames + second.frames);
    io.push_runs(slot, [&one, &other]);
}

/// Closes the holes that leavers left while jobs ran.
fn compact(entry: &mut LocalGroup, group: u32, io: &mut Io) {
    if entry.subscribers.len() == entry.live as usize {
        return;
    }
    let mut kept = 0;
    for at in 0..entry.subscribers.len() {
        let slot = entry.subscribers[at];
        if slot != HOLE {
            if kept != at {
                entry.subscribers[kept] = slot;
                renumber(io, slot, group, kept as u32);
            }
            kept += 1;
        }
    }
    entry.subscribers.truncate(kept);
}

fn renumber(io: &mut Io, slot: u32, group: u32, index: u32) {
    if let Some(connection) = io.connections.get_mut(slot)
        && let Some(subscription) = connection
            .subscriptions
            .iter_mut()
            .find(|s| s.group == group)
    {
        subscription.index = index;
    }
}

#[cfg(all(test, not(feature = "simulation")))]
mod coalesce_test;
#[cfg(all(test, not(feature = "simulation")))]
mod model_test;
