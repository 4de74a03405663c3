//! What a device missed: rows of all of a user's conversations in position order, by pages.

use core::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::Arc;

use super::Who;
use super::rows::Rows;
use crate::conversation::Row;
use crate::outcome::RowKind;
use crate::partition::Partition;

/// Where a catch-up starts or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUpFrom {
    /// After this position of a sync token. One above the committed position is foreign, and the
    /// device's cursors are used instead.
    Position(u64),
    /// After the device's cursors: after its ack where it has one, elsewhere after the position of
    /// its first known ack. A device that never acknowledged anything starts at now.
    Device,
    /// Where the page before ended.
    Next(Cursor),
}

/// Rows of one conversation read from the archive at a time.
const READ_AT_ONCE_MAX: u64 = 256;

/// What is carried from page to page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Rows up to this position were in the pages before.
    pub position: u64,
    /// Whether the device's cursors hold back rows too.
    pub by_device: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatchUpRow {
    pub position: u64,
    pub kind: RowKind,
    pub row: Arc<[u8]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In position order, hence in seq order for each conversation.
    pub rows: Vec<CatchUpRow>,
    /// Groups that the user is in at `through`; none on pages after the first.
    pub groups: Option<Vec<Arc<str>>>,
    /// For the next page.
    pub next: Cursor,
    /// Whether nothing is left up to `through`.
    pub complete: bool,
    /// The committed position at the time of this page.
    pub through: u64,
}

/// The rows of one stay in one conversation that are still to come.
struct Run<'a> {
    rows: Rows<'a>,
    next: u64,
    end: u64,
    /// Rows from `next` on that were read from the archive.
    read: VecDeque<Row>,
    /// How many are read the next time.
    at_once: u64,
}

impl Run<'_> {
    /// The next row, none at the end. Reads ahead in the archive, no more than `max_bytes`.
    fn peek(&mut self, max_bytes: usize) -> io::Result<Option<&Row>> {
        if self.next >= self.end {
            return Ok(None);
        }
        let conversation = self.rows.conversation;
        if let Some(row) = conversation.row(self.next) {
            return Ok(Some(row));
        }
        if self.read.is_empty() {
            let end = self.end.min(conversation.before().seq + 1);
            let seqs = self.next..end.min(self.next + self.at_once);
            self.at_once = READ_AT_ONCE_MAX.min(4 * self.at_once);
            let (read, mut bytes) = (&mut self.read, 0);
            self.rows.ascending(seqs, &mut |_, row| {
                bytes += row.bytes.len();
                read.push_back(row.clone());
                bytes < max_bytes
            })?;
        }
        Ok(self.read.front())
    }

    fn advance(&mut self) {
        self.next += 1;
        self.read.pop_front();
    }
}

impl<O> Partition<O> {
    /// One page of what a device missed. At most `max_rows`, and no more once `max_bytes` are
    /// reached, but at least one if there is one.
    ///
    /// Pages follow the committed position: what is committed meanwhile comes in the next page,
    /// and once a page is complete, everything after its `through` is for live delivery.
    pub fn catch_up(
        &self,
        who: Who<'_>,
        device: &str,
        from: CatchUpFrom,
        max_rows: usize,
        max_bytes: usize,
        now_ms: u64,
    ) -> io::Result<Page> {
        let through = self.position();
        let cursor = match from {
            CatchUpFrom::Position(position) if position <= through => Cursor {
                position,
                by_device: false,
            },
            CatchUpFrom::Position(_) | CatchUpFrom::Device => Cursor {
                position: 0,
                by_device: true,
            },
            CatchUpFrom::Next(cursor) => cursor,
        };
        let groups = match from {
            CatchUpFrom::Next(_) => None,
            _ => Some(self.groups_of(who)),
        };
        let next = Cursor {
            position: through,
            ..cursor
        };
        let mut page = Page {
            rows: Vec::new(),
            groups,
            next,
            complete: true,
            through,
        };
        let user = self.known_user(who);
        let mut runs = Vec::new();
        let at = (cursor.position, now_ms);
        if !cursor.by_device {
            if let Some(user) = user {
                self.runs(user, at, |_, _| Ok(0), &mut runs)?;
            }
            self.run_of_all(who.tenant, at, |_, _| Ok(0), &mut runs)?;
        } else if let Some(user) = user {
            self.runs_by_device(who.tenant, user, device, at, &mut runs)?;
        }
        merge(runs, &mut page, max_rows.max(1), max_bytes)?;
        if !page.complete {
            page.next.position = page.rows.last().map_or(cursor.position, |row| row.position);
        }
        Ok(page)
    }

    fn runs_by_device<'a>(
        &'a self,
        tenant: &[u8],
        user: u32,
        name: &str,
        at: (u64, u64),
        runs: &mut Vec<Run<'a>>,
    ) -> io::Result<()> {
        let Some(first) = self.began(user, name) else {
            return Ok(());
        };
        let acked = |index, rows: &Rows<'_>| match self.acked(user, name, index) {
            Some(acked) => Ok(acked),
            None => rows.first_after(first).map(|seq| seq - 1),
        };
        self.runs(user, at, acked, runs)?;
        self.run_of_all(tenant, at, acked, runs)
    }

    /// The same as `runs` of what was said to everybody.
    fn run_of_all<'a>(
        &'a self,
        tenant: &[u8],
        (position, now_ms): (u64, u64),
        seen: impl Fn(u32, &Rows<'_>) -> io::Result<u64>,
        runs: &mut Vec<Run<'a>>,
    ) -> io::Result<()> {
        let Some(index) = self.everybody(tenant) else {
            return Ok(());
        };
        let rows = self.fold.state.rows(index, now_ms);
        let next = rows.first_after(position)?.max(seen(index, &rows)? + 1);
        let end = rows.conversation.head() + 1;
        if next < end {
            runs.push(Run {
                rows,
                next,
                end,
                read: VecDeque::new(),
                at_once: 1,
            });
        }
        Ok(())
    }

    /// Runs of rows, as they are shown at a time, after a position and after the number that `seen` gives. A conversation
    /// without news costs a comparison, or one look at its cursor.
    fn runs<'a>(
        &'a self,
        user: u32,
        (position, now_ms): (u64, u64),
        seen: impl Fn(u32, &Rows<'_>) -> io::Result<u64>,
        runs: &mut Vec<Run<'a>>,
    ) -> io::Result<()> {
        let state = &self.fold.state;
        for &index in &state.user(user).conversations {
            let conversation = state.conversation(index);
            if conversation.head_position() <= position {
                continue;
            }
            let rows = state.rows(index, now_ms);
            let seen = seen(index, &rows)?;
            if seen >= conversation.head() {
                continue;
            }
            let Some(member) = conversation.members.find(user) else {
                continue;
            };
            let from = rows.first_after(position)?.max(seen + 1);
            let end = conversation.head() + 1;
            for (joined, left) in member.stays() {
                let (next, end) = (joined.max(from), left.min(end));
                if next < end {
                    runs.push(Run {
                        rows,
                        next,
                        end,
                        read: VecDeque::new(),
                        at_once: 1,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Takes rows from all runs by rising position.
fn merge(
    mut runs: Vec<Run<'_>>,
    page: &mut Page,
    max_rows: usize,
    max_bytes: usize,
) -> io::Result<()> {
    // What an even share of the page would be, so that many runs are not read far ahead.
    let share = (max_rows / runs.len().max(1)) as u64;
    let mut heap = BinaryHeap::with_capacity(runs.len());
    for (place, run) in runs.iter_mut().enumerate() {
        run.at_once = share.clamp(1, READ_AT_ONCE_MAX);
        if let Some(row) = run.peek(max_bytes)? {
            heap.push(Reverse((row.position, place)));
        }
    }
    let mut bytes = 0;
    while let Some(Reverse((at, place))) = heap.pop() {
        if page.rows.len() >= max_rows || (bytes >= max_bytes && !page.rows.is_empty()) {
            page.complete = false;
            return Ok(());
        }
        let run = &mut runs[place];
        if let Some(row) = run.peek(max_bytes)? {
            bytes += row.bytes.len();
            let row = row.clone();
            let shown = run.rows.shown(run.next, &row)?;
            page.rows.push(CatchUpRow {
                position: at,
                kind: row.kind,
                row: shown.unwrap_or(row.bytes),
            });
        }
        run.advance();
        if let Some(row) = run.peek(max_bytes)? {
            heap.push(Reverse((row.position, place)));
        }
    }
    Ok(())
}
