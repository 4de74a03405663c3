//! Committed rows with their audience, at commit and again for links that resume.

use std::io;

use imfast_wire::frames::row::EventView;

use super::rows::missing;
use crate::conversation::Row;
use crate::outcome::{Change, Delivery, DeliveryPage, RowKind};
use crate::partition::Partition;
use crate::state::Place;

/// Rows read from the archive at a time.
const PLACES_AT_ONCE: usize = 256;

impl<O> Partition<O> {
    /// The delivery of a row in memory that was just committed.
    pub(crate) fn delivery(&self, place: Place, now_ms: u64) -> Option<Delivery> {
        let entry = self.fold.state.conversation(place.conversation);
        let row = entry.row(place.seq());
        // Nothing was done to it yet, so that no other row is read for it, which alone could fail.
        row.and_then(|row| self.delivery_of(place, row, now_ms).ok())
    }

    fn delivery_of(&self, place: Place, row: &Row, now_ms: u64) -> io::Result<Delivery> {
        let state = &self.fold.state;
        let entry = state.conversation(place.conversation);
        debug_assert_eq!(row.position, place.position);
        let shown = state
            .rows(place.conversation, now_ms)
            .shown(place.seq(), row)?;
        let change = match row.kind {
            RowKind::Event => self.change(entry.tenant, &row.bytes),
            RowKind::Message => None,
        };
        Ok(Delivery {
            position: place.position,
            tenant: state.tenants.name(entry.tenant).clone(),
            conversation: state.conversation_id(place.conversation).clone(),
            conversation_index: place.conversation,
            seq: place.seq(),
            kind: row.kind,
            row: shown.unwrap_or_else(|| row.bytes.clone()),
            audience: self.audience(&entry.shape),
            change: change.map(Box::new),
        })
    }

    /// Who comes and goes with an event; none where nobody does.
    fn change(&self, tenant: u32, event: &[u8]) -> Option<Change> {
        let state = &self.fold.state;
        let event = EventView::parse(event).expect("we wrote this row");
        let users = event
            .users()
            .filter_map(|name| state.find_user(tenant, name));
        let users = users.map(|user| state.user_name(user).clone()).collect();
        match event.kind {
            "created" | "joined" => Some(Change {
                joined: users,
                left: Vec::new(),
            }),
            "left" | "removed" => Some(Change {
                joined: Vec::new(),
                left: users,
            }),
            _ => None,
        }
    }

    /// What was delivered after `position`, for a link that starts or resumes there. At least one
    /// delivery if there is one, then no more once their rows reach `max_bytes`.
    pub fn deliveries_after(
        &self,
        position: u64,
        max_bytes: usize,
        now_ms: u64,
    ) -> io::Result<DeliveryPage> {
        let state = &self.fold.state;
        let mut filling = Filling {
            page: DeliveryPage {
                deliveries: Vec::new(),
                through: position.min(state.position),
                complete: true,
            },
            bytes: 0,
            max_bytes,
        };
        while filling.page.complete && filling.page.through < state.evicted {
            self.archived_deliveries(&mut filling, now_ms)?;
        }
        let through = filling.page.through;
        let start = state
            .places
            .partition_point(|place| place.position <= through);
        for &place in state.places.range(start..) {
            if !filling.page.complete {
                break;
            }
            if let Some(row) = state.conversation(place.conversation).row(place.seq()) {
                filling.push(row, || self.delivery_of(place, row, now_ms))?;
            }
        }
        if filling.page.complete {
            filling.page.through = state.position;
        }
        Ok(filling.page)
    }

    /// The next rows of those that left memory.
    fn archived_deliveries(&self, filling: &mut Filling, now_ms: u64) -> io::Result<()> {
        let state = &self.fold.state;
        let Some(archive) = state.gather.archive() else {
            return Err(io::Error::other("rows left memory without an archive"));
        };
        let mut places = Vec::with_capacity(PLACES_AT_ONCE);
        let after = filling.page.through + 1..state.evicted + 1;
        archive.places(after, &mut |position, conversation, seq| {
            places.push(Place::new(position, conversation, seq));
            places.len() < PLACES_AT_ONCE
        })?;
        let read_all = places.len() < PLACES_AT_ONCE;
        for (place, row) in self.archived_rows(places)? {
            filling.push(&row, || self.delivery_of(place, &row, now_ms))?;
            if !filling.page.complete {
                return Ok(());
            }
        }
        if read_all {
            filling.page.through = state.evicted;
        }
        Ok(())
    }

    /// The rows of `places`, by position: one read for each run of numbers of a conversation.
    fn archived_rows(&self, mut places: Vec<Place>) -> io::Result<Vec<(Place, Row)>> {
        let state = &self.fold.state;
        places.sort_unstable_by_key(|place| (place.conversation, place.seq()));
        let mut found = Vec::with_capacity(places.len());
        let follows =
            |a: &Place, b: &Place| a.conversation == b.conversation && a.seq() + 1 == b.seq();
        for run in places.chunk_by(follows) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            if first.conversation as usize >= state.conversation_count() {
                return Err(missing(first.conversation, first.seq()));
            }
            let mut next = run.iter();
            let seqs = first.seq()..last.seq() + 1;
            let rows = state.rows(first.conversation, 0);
            rows.ascending(seqs, &mut |_, row| {
                found.extend(next.next().map(|&place| (place, row.clone())));
                true
            })?;
        }
        found.sort_unstable_by_key(|(place, _)| place.position);
        Ok(found)
    }
}

/// A page to which deliveries are added until it is full.
struct Filling {
    page: DeliveryPage,
    bytes: usize,
    max_bytes: usize,
}

impl Filling {
    fn push(
        &mut self,
        row: &Row,
        delivery: impl FnOnce() -> io::Result<Delivery>,
    ) -> io::Result<()> {
        if self.bytes >= self.max_bytes && !self.page.deliveries.is_empty() {
            self.page.complete = false;
            self.page.through = row.position - 1;
            return Ok(());
        }
        self.page.deliveries.push(delivery()?);
        self.bytes += row.bytes.len();
        self.page.through = row.position;
        Ok(())
    }
}
