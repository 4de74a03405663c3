//! The outbox: a partition's committed rows by position, for readers outside of this process.
//!
//! A reader asks for what stands behind the position that it keeps itself, as often and as slowly
//! as it likes: nothing is queued for it here, and no commit waits for it.

use crate::engine::Engine;
use crate::owner::{Storage, with_arrival};
use imfast_wire::frames::json::{Effect, encode_effect};
use imfast_wire::frames::server::Row;
use std::io;

/// Effects of a range of positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxPage {
    /// One JSON object a line, in position order.
    pub effects: Vec<u8>,
    /// Everything up to this position is in this page or before what was asked for. Below that
    /// where the log has lost its end: positions behind it will be given anew.
    pub through: u64,
    /// The last committed position.
    pub committed: u64,
}

impl Engine {
    /// What was committed behind position `after`: at least one effect if there is one, then no
    /// more once their rows reach `max_bytes`. None while the partition does not serve.
    ///
    /// # Errors
    /// The archive could not be read.
    pub fn outbox_page(
        &self,
        partition: u16,
        after: u64,
        max_bytes: usize,
    ) -> io::Result<Option<OutboxPage>> {
        let owned = self.owned.get(partition as usize).and_then(Option::as_ref);
        let Some(owned) = owned.filter(|owned| matches!(owned.storage, Storage::Serving(_))) else {
            return Ok(None);
        };
        let page = owned
            .partition
            .deliveries_after(after, max_bytes, self.wall_ms)?;
        let mut effects = Vec::new();
        for delivery in &page.deliveries {
            with_arrival(partition, delivery, |arrival| {
                let row = if arrival.event {
                    Row::Event(arrival.row)
                } else {
                    Row::Message(arrival.row)
                };
                let effect = Effect {
                    partition,
                    position: arrival.position,
                    tenant: arrival.tenant,
                    direct: arrival.direct.map(<[&str; 2]>::from),
                    row,
                };
                encode_effect(&effect, &mut effects)
            })
            .map_err(io::Error::other)?;
        }
        Ok(Some(OutboxPage {
            effects,
            through: page.through,
            committed: owned.partition.position(),
        }))
    }
}
