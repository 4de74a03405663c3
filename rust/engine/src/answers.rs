//! Answers to queries, from a partition's committed state.

use crate::engine::Engine;
use crate::faults::{self, Fault};
use crate::origin::{Origin, Waiter};
use crate::query::{From, Page, Query, QueryKind};
use crate::refusals::refusal;
use imfast_partition::{
    CatchUpFrom, Cursor, HistoryRow, QueryError, Refused, RowKind, Who, Window,
};
use imfast_wire::frames::codes;
use imfast_wire::frames::server::{List, Member, Row, ServerBody, Summary};
use std::borrow::Cow;

/// Bytes of rows in one answer; a page ends before its limit where its rows are large.
const ANSWER_BYTES: usize = 512 * 1024;

impl Engine {
    pub(crate) fn answer_query(&mut self, partition: u16, query: &Query, origin: Origin) {
        let catch_up = matches!(query.kind, QueryKind::CatchUp { .. });
        if catch_up
            && (self.defer_for_rows(partition, query, origin)
                || self.defer_for_link(partition, query, origin))
        {
            return;
        }
        let Some(Some(owned)) = self.owned.get(partition as usize) else {
            return;
        };
        let (state, now_ms) = (&owned.partition, self.wall_ms);
        let who = Who {
            tenant: query.tenant.as_bytes(),
            user: &query.user,
            by_server: query.by_server,
        };
        match &query.kind {
            QueryKind::CatchUp {
                device,
                from,
                rows,
                bytes,
            } => {
                let Some(from) = From::decode(from) else {
                    return;
                };
                let from = match from {
                    From::Position(position) => CatchUpFrom::Position(position),
                    From::Device => CatchUpFrom::Device,
                    From::Next {
                        position,
                        by_device,
                    } => CatchUpFrom::Next(Cursor {
                        position,
                        by_device,
                    }),
                };
                let found =
                    state.catch_up(who, device, from, *rows as usize, *bytes as usize, now_ms);
                let Ok(found) = found else {
                    return self.answer_unreadable(partition, origin);
                };
                // Which groups the user is in matters where live delivery takes over.
                let groups = if found.complete {
                    state.groups_of(who)
                } else {
                    Vec::new()
                };
                let page = Page {
                    through: found.through,
                    complete: found.complete,
                    next: From::Next {
                        position: found.next.position,
                        by_device: found.next.by_device,
                    }
                    .encode(),
                    groups: groups
                        .iter()
                        .map(std::string::ToString::to_string)
                        .collect(),
                    rows: found
                        .rows
                        .iter()
                        .map(|row| (row.kind == RowKind::Event, row.row.to_vec()))
                        .collect(),
                };
                self.io.stats.pages += 1;
                match origin {
                    Origin::Here(Waiter::CatchUp { handle, partition }) => {
                        self.page(handle, partition, &page);
                    }
                    Origin::Here(_) | Origin::Cursors => {}
                    Origin::Link { link, request } => {
                        self.reply_page(partition, link, request, &page);
                    }
                }
            }
            QueryKind::History {
                conversation,
                before,
                after,
                limit,
            } => {
                let window = match (before, after) {
                    (Some(seq), _) => Window::Before(*seq),
                    (None, Some(seq)) => Window::After(*seq),
                    (None, None) => Window::Latest,
                };
                let limit = *limit as usize;
                match state.history(who, conversation, window, limit, ANSWER_BYTES, now_ms) {
                    Ok(page) => {
                        let items: Vec<Row<'_>> = page.rows.iter().map(row).collect();
                        let body = ServerBody::History {
                            items: List::Borrowed(&items),
                            more: page.more,
                        };
                        self.answer(partition, origin, body);
                    }
                    Err(QueryError::Refused(refused)) => {
                        self.answer_refused(partition, origin, refused);
                    }
                    Err(QueryError::Archive(_)) => self.answer_unreadable(partition, origin),
                }
            }
            QueryKind::Conversations {
                device,
                after,
                limit,
            } => {
                let page = state.conversations(who, device, after, *limit as usize, now_ms);
                let Ok(page) = page else {
                    return self.answer_unreadable(partition, origin);
                };
                let items: Vec<Summary<'_>> = page
                    .items
                    .iter()
                    .map(|item| Summary {
                        conversation: Cow::Borrowed(&item.conversation),
                        kind: Cow::Borrowed(item.kind.name()),
                        title: Cow::Borrowed(&item.title),
                        peer: Cow::Borrowed(item.peer.as_deref().unwrap_or("")),
                        seq: item.seq,
                        joined_seq: item.joined_seq,
                        read_seq: item.read_seq,
                        acked_seq: item.acked_seq,
                        unread: item.unread,
                        last: item.last.as_ref().map(row),
                    })
                    .collect();
                let body = ServerBody::Conversations {
                    items: List::Borrowed(&items),
                    more: page.more,
                };
                self.answer(partition, origin, body);
            }
            QueryKind::Receipts { conversation, seq } => {
                match state.receipt_counts(who, conversation, *seq) {
                    Ok(counts) => {
                        let body = ServerBody::Receipts {
                            conversation: Cow::Borrowed(conversation),
                            seq: counts.seq,
                            delivered: counts.delivered,
                            read: counts.read,
                            members: counts.members,
                        };
                        self.answer(partition, origin, body);
                    }
                    Err(refused) => self.answer_refused(partition, origin, refused),
                }
            }
            QueryKind::Members {
                conversation,
                after,
                limit,
            } => match state.members(who, conversation, after, *limit as usize) {
                Ok(page) => {
                    let members: Vec<Member<'_>> = page
                        .members
                        .iter()
                        .map(|member| Member {
                            user: Cow::Borrowed(&member.user),
                            role: Cow::Borrowed(member.role.name()),
                            joined_seq: member.joined_seq,
                        })
                        .collect();
                    let body = ServerBody::Group {
                        conversation: Cow::Borrowed(conversation),
                        seq: page.seq,
                        members: List::Borrowed(&members),
                        more: page.more,
                    };
                    self.answer(partition, origin, body);
                }
                Err(error) => self.answer_refused(partition, origin, error),
            },
        }
    }

    /// The partition's archive cannot be read.
    fn answer_unreadable(&mut self, partition: u16, origin: Origin) {
        faults::count(&mut self.faults, Fault::ArchiveRead, self.now_ms);
        self.answer(
            partition,
            origin,
            ServerBody::error(&codes::INTERNAL, 0, ""),
        );
    }

    fn answer_refused(&mut self, partition: u16, origin: Origin, refused: Refused) {
        self.answer(partition, origin, refusal(refused));
    }
}

fn row(row: &HistoryRow) -> Row<'_> {
    match row.kind {
        RowKind::Message => Row::Message(&row.row),
        RowKind::Event => Row::Event(&row.row),
    }
}
