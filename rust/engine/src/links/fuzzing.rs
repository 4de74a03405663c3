//! The gateway's half of a link as a fuzz target drives it, which plays the owner.

use super::{Kind, Pending};
use crate::config::EngineConfig;
use crate::engine::Engine;
use crate::origin::Waiter;
use crate::slab::Handle;
use crate::system::System;
use imfast_routes::RouteTable;
use rustix::io::Errno;
use std::sync::Arc;

/// Worker 0 of a node, for whose requests nobody waits any more.
pub struct Gateway(Engine);

impl Gateway {
    /// # Errors
    /// What an epoll or a table refuses.
    pub fn new(config: EngineConfig) -> Result<Self, Errno> {
        let routes = RouteTable::heap(1 << 8).map_err(|_| Errno::NOMEM)?;
        Engine::new(config, Arc::new(routes), System).map(Self)
    }

    /// Asks a partition's owner: for a query, a command, or an ephemeral message.
    pub fn ask(&mut self, partition: u16, kind: u8, payload: Vec<u8>) {
        let kind = [Kind::Query, Kind::Command, Kind::Ephemeral][usize::from(kind % 3)];
        let waiter = Waiter::Client {
            handle: Handle::from_bits(u64::MAX),
            frame: 1,
            counted: true,
        };
        self.0.request(partition, kind, payload, waiter);
    }

    /// # Errors
    /// What epoll reports.
    pub fn tick(&mut self) -> Result<(), Errno> {
        self.0.poll()?;
        self.0.flush();
        Ok(())
    }

    /// The engine's timer, whatever the clock says.
    pub fn beat(&mut self) {
        for remote in &mut self.0.links.remotes {
            remote.redial_at_ms = 0;
        }
        self.0.link_timer();
    }

    /// Per partition, how far it has what concerns it, and the epoch in which it heard so.
    pub fn watermarks(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let epochs = self.0.links.epochs.iter();
        self.0.watermarks.iter().copied().zip(epochs.copied())
    }

    /// The requests to a worker that it has not answered, by number.
    ///
    /// # Panics
    /// Their sum of bytes is not theirs.
    pub fn unanswered(&self, worker: u8) -> Vec<u64> {
        let remote = &self.0.links.remotes[usize::from(worker)];
        let bytes: usize = remote.unanswered.iter().map(|p| p.payload.len()).sum();
        assert_eq!(remote.bytes, bytes);
        let numbered = (remote.first..).zip(&remote.unanswered);
        let waiting = |(number, pending): (u64, &Pending)| (!pending.answered).then_some(number);
        numbered.filter_map(waiting).collect()
    }
}
