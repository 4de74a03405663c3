//! Pages of one conversation's rows.

use std::sync::Arc;

use super::{View, Who};
use crate::outcome::{Refused, RowKind};
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
    ) -> Result<HistoryPage, Refused> {
        let view = self.view(who, conversation)?;
        let end = view.conversation.head() + 1;
        let (from, to) = match window {
            Window::Latest => (1, end),
            Window::Before(seq) => (1, seq.min(end)),
            Window::After(seq) => (seq.saturating_add(1), end),
        };
        let stays = view.member.stays();
        let mut visible = stays.flat_map(|(joined, left)| joined.max(from)..left.min(to));
        if matches!(window, Window::After(_)) {
            return Ok(view.page(&mut visible, limit, max_bytes));
        }
        let mut page = view.page(&mut visible.rev(), limit, max_bytes);
        page.rows.reverse();
        Ok(page)
    }
}

impl View<'_> {
    fn page(
        &self,
        visible: &mut dyn Iterator<Item = u64>,
        limit: usize,
        max_bytes: usize,
    ) -> HistoryPage {
        let mut rows = Vec::new();
        let mut bytes = 0;
        for seq in visible {
            if rows.len() >= limit.max(1) || (!rows.is_empty() && bytes >= max_bytes) {
                return HistoryPage { rows, more: true };
            }
            let row = self.conversation.row(seq);
            bytes += row.bytes.len();
            rows.push(HistoryRow {
                seq,
                kind: row.kind,
                row: row.bytes.clone(),
            });
        }
        HistoryPage { rows, more: false }
    }
}
