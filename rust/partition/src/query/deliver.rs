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
    /// The delivery of a row in memory.
    pub(crate) fn delivery(&self, place: Place) -> Option<Delivery> {
        let entry = self.fold.state.conversation(place.conversation);
        let row = entry.row(place.seq());
        row.map(|row| self.delivery_of(place, row))
    }

    fn delivery_of(&self, place: Place, row: &Row) -> Delivery {
        let state = &self.fold.state;
        let entry = state.conversation(place.conversation);
        debug_assert_eq!(row.position, place.position);
        Delivery {
            position: place.position,
            tenant: state.tenants.name(entry.tenant).clone(),
            conversation: state.conversation_id(place.conversation).clone(),
            conversation_index: place.conversation,
            seq: place.seq(),
            kind: row.kind,
            row: row.bytes.clone(),
            audience: self.audience(&entry.shape),
            change: (row.kind == RowKind::Event)
                .then(|| Box::new(self.change(entry.tenant, &row.bytes))),
        }
    }

    fn change(&self, tenant: u32, event: &[u8]) -> Change {
        let state = &self.fold.state;
        let event = EventView::parse(event).expect("we wrote this row");
        let users = event
            .users()
            .filter_map(|name| state.find_user(tenant, name));
        let users = users.map(|user| state.user_name(user).clone()).collect();
        match event.kind {
            "created" | "joined" => Change {
                joined: users,
                left: Vec::new(),
            },
            _ => Change {
                joined: Vec::new(),
                left: users,
            },
        }
    }

    /// What was delivered after `position`, for a link that starts or resumes there. At least one
    /// delivery if there is one, then no more once their rows reach `max_bytes`.
    pub fn deliveries_after(&self, position: u64, max_bytes: usize) -> io::Result<DeliveryPage> {
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
            self.archived_deliveries(&mut filling)?;
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
                filling.push(row, || self.delivery_of(place, row));
            }
        }
        if filling.page.complete {
            filling.page.through = state.position;
        }
        Ok(filling.page)
    }

    /// The next rows of those that left memory.
    fn archived_deliveries(&self, filling: &mut Filling) -> io::Result<()> {
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
            filling.push(&row, || self.delivery_of(place, &row));
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
            let rows = state.rows(first.conversation);
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
    fn push(&mut self, row: &Row, delivery: impl FnOnce() -> Delivery) {
        if self.bytes >= self.max_bytes && !self.page.deliveries.is_empty() {
            self.page.complete = false;
            self.page.through = row.position - 1;
            return;
        }
        self.bytes += row.bytes.len();
        self.page.through = row.position;
        self.page.deliveries.push(delivery());
    }
}
