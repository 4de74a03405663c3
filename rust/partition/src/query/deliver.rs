//! Committed rows with their audience, at commit and again for links that resume.

use imfast_wire::frames::row::EventView;

use crate::outcome::{Change, Delivery, DeliveryPage, RowKind};
use crate::partition::Partition;

impl<O> Partition<O> {
    /// The delivery of a committed position, none for a command without a row.
    pub(crate) fn delivery(&self, position: u64) -> Option<Delivery> {
        let state = &self.fold.state;
        let place = state.places[position as usize - 1];
        if place.seq == 0 {
            return None;
        }
        let entry = state.conversation(place.conversation);
        let row = entry.row(place.seq);
        debug_assert_eq!(row.position, position);
        Some(Delivery {
            position,
            tenant: state.tenants.name(entry.tenant).clone(),
            conversation: state.conversation_id(place.conversation).clone(),
            conversation_index: place.conversation,
            seq: place.seq,
            kind: row.kind,
            row: row.bytes.clone(),
            audience: self.audience(&entry.shape),
            change: (row.kind == RowKind::Event)
                .then(|| Box::new(self.change(entry.tenant, &row.bytes))),
        })
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
    pub fn deliveries_after(&self, position: u64, max_bytes: usize) -> DeliveryPage {
        let committed = self.position();
        let mut page = DeliveryPage {
            deliveries: Vec::new(),
            through: position.min(committed),
            complete: true,
        };
        let mut bytes = 0;
        for at in page.through + 1..=committed {
            if let Some(delivery) = self.delivery(at) {
                if bytes >= max_bytes && !page.deliveries.is_empty() {
                    page.complete = false;
                    return page;
                }
                bytes += delivery.row.len();
                page.deliveries.push(delivery);
            }
            page.through = at;
        }
        page
    }
}
