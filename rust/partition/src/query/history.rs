//! Pages of one conversation's rows.

use std::io;
use std::sync::Arc;

use super::rows::Rows;
use super::{QueryError, Who};
use crate::conversation::Row;
use crate::outcome::RowKind;
use crate::partition::Partition;

/// Which rows are asked for, in seqs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The latest ones.
    Latest,
    /// The latest ones below this number.
    Before(u64),
    /// The first ones above this number.
    After(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    pub seq: u64,
    pub kind: RowKind,
    pub row: Arc<[u8]>,
}

impl HistoryRow {
    /// Makes a stored row what is shown of it.
    pub(super) fn show(&mut self, rows: &Rows<'_>) -> io::Result<()> {
        let stored = Row {
            bytes: self.row.clone(),
            position: 0,
            ordinal: 0,
            kind: self.kind,
        };
        if let Some(shown) = rows.shown(self.seq, &stored)? {
            self.row = shown;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// Ascending, whichever window was asked for.
    pub rows: Vec<HistoryRow>,
    /// Whether the window holds more rows that this user may see.
    pub more: bool,
}

impl<O> Partition<O> {
    /// Rows of a conversation that fall into the user's stays. At most `limit`, and no more once
    /// `max_bytes` are reached, but at least one if there is one.
    pub fn history(
        &self,
        who: Who<'_>,
        conversation: &str,
        window: Window,
        limit: usize,
        max_bytes: usize,
        now_ms: u64,
    ) -> Result<HistoryPage, QueryError> {
        let view = self.view(who, conversation)?;
        let rows = self.fold.state.rows(view.index, now_ms);
        let end = view.conversation.head() + 1;
        let (from, to) = match window {
            Window::Latest => (1, end),
            Window::Before(seq) => (1, seq.min(end)),
            Window::After(seq) => (seq.saturating_add(1), end),
        };
        let stays = view.member.stays();
        let visible = stays
            .map(|(joined, left)| joined.max(from)..left.min(to))
            .filter(|seqs| !seqs.is_empty());
        let mut page = Filling::new(limit, max_bytes);
        if matches!(window, Window::After(_)) {
            for seqs in visible {
                page.fill(seqs.end - 1, |each| rows.ascending(seqs, each))?;
            }
            return Ok(page.shown(&rows)?);
        }
        for seqs in visible.rev() {
            page.fill(seqs.start, |each| rows.descending(seqs, each))?;
        }
        page.page.rows.reverse();
        Ok(page.shown(&rows)?)
    }
}

/// A page to which rows are added until it is full.
struct Filling {
    page: HistoryPage,
    bytes: usize,
    limit: usize,
    max_bytes: usize,
}

impl Filling {
    fn new(limit: usize, max_bytes: usize) -> Self {
        Self {
            page: HistoryPage {
                rows: Vec::new(),
                more: false,
            },
            bytes: 0,
            limit: limit.max(1),
            max_bytes,
        }
    }

    fn shown(self, rows: &Rows<'_>) -> io::Result<HistoryPage> {
        let mut page = self.page;
        for row in &mut page.rows {
            row.show(rows)?;
        }
        Ok(page)
    }

    fn is_full(&self) -> bool {
        let rows = &self.page.rows;
        rows.len() >= self.limit || (!rows.is_empty() && self.bytes >= self.max_bytes)
    }

    /// Adds the rows that `walk` visits, up to the one numbered `last`.
    fn fill(
        &mut self,
        last: u64,
        walk: impl FnOnce(&mut dyn FnMut(u64, &Row) -> bool) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.is_full() {
            self.page.more = true;
            return Ok(());
        }
        walk(&mut |seq, row| {
            self.bytes += row.bytes.len();
            self.page.rows.push(HistoryRow {
                seq,
                kind: row.kind,
                row: row.bytes.clone(),
            });
            let full = self.is_full();
            self.page.more |= full && seq != last;
            !full
        })
    }
}
