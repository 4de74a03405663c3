//! Our way to other workers' partitions.

use super::frame::{Frame, Kind, NO_PARTITION};
use super::link::{Broken, Side};
use super::{PATIENCE_MS, Pending, REDIAL_MS};
use crate::crash::{self, Event};
use crate::delivery::Arrival;
use crate::engine::Engine;
use crate::faults;
use crate::notices::Notice;
use crate::origin::Waiter;
use crate::presence::Told;
use crate::query::Page;
use crate::slab::Handle;
use imfast_faults::{Fault, on};
use imfast_wire::frames::codes;
use imfast_wire::frames::proto;
use imfast_wire::frames::row::row_time_ms;
use imfast_wire::frames::server::ServerBody;

/// How long a session waits for its seat while the worker that knows of it is not to be reached.
const SEAT_PATIENCE_MS: u64 = 500;

/// A watermark that means: from now on.
pub(super) const UNKNOWN: u64 = u64::MAX;

impl Engine {
    /// Sends a request to a partition's owner and keeps it until it is answered.
    pub(crate) fn request(&mut self, partition: u16, kind: Kind, payload: Vec<u8>, waiter: Waiter) {
        let worker = self.config.owners[partition as usize];
        let epoch = self.links.epochs[partition as usize];
        let queue_bytes = self.links.queue_bytes;
        let asked_ms = self.now_ms;
        let remote = &mut self.links.remotes[worker as usize];
        if remote.bytes + payload.len() > queue_bytes {
            faults::count(&mut self.faults, faults::Fault::RequestsFull, self.now_ms);
            return self.answered(waiter, ServerBody::error(&codes::OVERLOADED, 0, ""));
        }
        let number = remote.first + remote.unanswered.len() as u64;
        if remote.open
            && let Some(handle) = remote.link
            && let Some(link) = self.links.slab.resolve_mut(handle)
        {
            queue_request(link, kind, partition, epoch, number, &payload);
            self.links.touch(handle.slot);
        }
        let remote = &mut self.links.remotes[worker as usize];
        remote.bytes += payload.len();
        remote.unanswered.push_back(Pending {
            kind,
            partition,
            payload,
            waiter: Some(waiter),
            answered: false,
            asked_ms,
        });
        remote.wanted = true;
        if remote.link.is_none() {
            self.dial(worker);
        }
    }

    /// Connects to a worker that is wanted and not connected.
    pub(super) fn dial(&mut self, worker: u8) {
        let now_ms = self.now_ms;
        let remote = &mut self.links.remotes[worker as usize];
        if !remote.wanted || remote.link.is_some() || remote.redial_at_ms > now_ms {
            return;
        }
        remote.redial_at_ms = now_ms + REDIAL_MS;
        let Ok(fd) = self
            .system
            .connect(&self.config.link_paths[worker as usize])
        else {
            return;
        };
        let Some(handle) = self.adopt_link(fd, Side::Gateway, Some(worker)) else {
            return;
        };
        self.links.remotes[worker as usize].link = Some(handle);
        crash::note(Event::LinkDialled, now_ms, u64::from(worker), 0);
        let me = self.config.worker;
        let marks: Vec<(u16, u64)> = self
            .config
            .owners
            .iter()
            .enumerate()
            .filter(|(_, owner)| **owner == worker)
            .map(|(partition, _)| {
                let known = self.links.epochs[partition] > 0;
                (
                    partition as u16,
                    if known {
                        self.watermarks[partition]
                    } else {
                        UNKNOWN
                    },
                )
            })
            .collect();
        if let Some(link) = self.links.slab.resolve_mut(handle) {
            link.queue(Kind::Hello, NO_PARTITION, 0, |out| {
                out.push(me);
                for (partition, watermark) in marks {
                    out.extend_from_slice(&partition.to_le_bytes());
                    out.extend_from_slice(&watermark.to_le_bytes());
                }
            });
            self.links.touch(handle.slot);
        }
    }

    /// Serves a frame from an owner.
    pub(super) fn gateway_frame(
        &mut self,
        handle: Handle,
        frame: &Frame<'_>,
    ) -> Result<(), Broken> {
        if frame.partition != NO_PARTITION {
            let known = self
                .links
                .epochs
                .get(frame.partition as usize)
                .ok_or(Broken::Malformed)?;
            if frame.epoch != *known && !on(Fault::StaleFrameAccepted) {
                return Err(Broken::StaleEpoch);
            }
        } else if matches!(
            frame.kind,
            Kind::Deliver | Kind::DeliverEphemeral | Kind::Watermark | Kind::Notice
        ) {
            return Err(Broken::Malformed);
        }
        match frame.kind {
            Kind::Welcome => self.welcomed(handle, frame.payload),
            Kind::Reply => self.reply_arrived(handle, frame.payload),
            Kind::Deliver => {
                let arrival = Arrival::decode(frame.partition, frame.payload)
                    .map_err(|_| Broken::Malformed)?;
                self.begin_deliveries(row_time_ms(arrival.row));
                self.arrive(&arrival, None);
                self.end_deliveries();
                Ok(())
            }
            Kind::DeliverEphemeral => {
                let (worker, rest) = frame.payload.split_first().ok_or(Broken::Malformed)?;
                let (bits, rest) = rest.split_first_chunk().ok_or(Broken::Malformed)?;
                let arrival =
                    Arrival::decode(frame.partition, rest).map_err(|_| Broken::Malformed)?;
                let sender = Handle::from_bits(u64::from_le_bytes(*bits));
                self.begin_deliveries(row_time_ms(arrival.row));
                self.arrive(&arrival, (*worker == self.config.worker).then_some(sender));
                Ok(())
            }
            Kind::Watermark => {
                let position = frame.payload.try_into().map_err(|_| Broken::Malformed)?;
                self.advance_watermark(frame.partition, u64::from_le_bytes(position));
                Ok(())
            }
            Kind::Notice => {
                let notice = Notice::decode(frame.payload).ok_or(Broken::Malformed)?;
                self.notified(&notice);
                Ok(())
            }
            Kind::Stands => {
                let told = Told::decode(frame.payload).ok_or(Broken::Malformed)?;
                self.presence_arrived(&told);
                Ok(())
            }
            Kind::Unseat => self.unseat_asked(handle, frame.payload),
            Kind::Beat => Ok(()),
            _ => Err(Broken::Malformed),
        }
    }

    /// A newer session took the seat of one here: it ends before its owner hears of it.
    fn unseat_asked(&mut self, handle: Handle, payload: &[u8]) -> Result<(), Broken> {
        let (numbers, rest) = payload.as_chunks::<8>();
        let ([number, session, life], []) = (numbers, rest) else {
            return Err(Broken::Malformed);
        };
        // Sessions of a worker that died are gone; its names are of others now.
        if u64::from_le_bytes(*life) == self.key_nonce {
            self.unseat(Handle::from_bits(u64::from_le_bytes(*session)));
        }
        if let Some(link) = self.links.slab.resolve_mut(handle) {
            link.queue(Kind::Unseated, NO_PARTITION, 0, |out| {
                out.extend_from_slice(number);
            });
            self.links.touch(handle.slot);
        }
        Ok(())
    }

    /// The owner told its epochs and positions: requests flow, unanswered ones first.
    fn welcomed(&mut self, handle: Handle, payload: &[u8]) -> Result<(), Broken> {
        let (entries, rest) = payload.as_chunks::<18>();
        let welcomed = self
            .links
            .slab
            .resolve(handle)
            .is_some_and(|link| link.open);
        if !rest.is_empty() || welcomed {
            return Err(Broken::Malformed);
        }
        let (mut renewed, mut served) = (Vec::new(), Vec::new());
        for entry in entries {
            let number = |at: usize| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&entry[at..at + 8]);
                u64::from_le_bytes(bytes)
            };
            let partition = u16::from_le_bytes([entry[0], entry[1]]) as usize;
            let (epoch, committed) = (number(2), number(10));
            served.push(partition as u16);
            let known = self
                .links
                .epochs
                .get_mut(partition)
                .ok_or(Broken::Malformed)?;
            if epoch < *known && !on(Fault::StaleFrameAccepted) {
                return Err(Broken::StaleEpoch);
            }
            if *known != 0 && *known != epoch {
                renewed.push(partition as u16);
            }
            if *known == 0 {
                self.watermarks[partition] = self.watermarks[partition].max(committed);
            }
            *known = epoch;
        }
        let Some(link) = self.links.slab.resolve_mut(handle) else {
            return Ok(());
        };
        link.open = true;
        let Some(peer) = link.peer else { return Ok(()) };
        let remote = &mut self.links.remotes[peer as usize];
        remote.open = true;
        for (at, pending) in remote.unanswered.iter().enumerate() {
            if !pending.answered {
                let epoch = self.links.epochs[pending.partition as usize];
                let number = remote.first + at as u64;
                queue_request(
                    link,
                    pending.kind,
                    pending.partition,
                    epoch,
                    number,
                    &pending.payload,
                );
            }
        }
        self.links.touch(handle.slot);
        if !renewed.is_empty() {
            self.sit_again(&renewed);
        }
        // What was told of presence meanwhile is lost with the link.
        self.stand_again(&served);
        Ok(())
    }

    fn reply_arrived(&mut self, handle: Handle, payload: &[u8]) -> Result<(), Broken> {
        let (number, rest) = payload.split_first_chunk().ok_or(Broken::Malformed)?;
        let (tag, body) = rest.split_first().ok_or(Broken::Malformed)?;
        let number = u64::from_le_bytes(*number);
        let Some(link) = self.links.slab.resolve(handle) else {
            return Ok(());
        };
        let Some(peer) = link.peer else { return Ok(()) };
        let remote = &mut self.links.remotes[peer as usize];
        // An answer to a request answered before the break is not looked at twice.
        let Some(at) = number.checked_sub(remote.first) else {
            return Ok(());
        };
        let Some(pending) = remote.unanswered.get_mut(at as usize) else {
            return Ok(());
        };
        pending.answered = true;
        let waiter = pending.waiter.take();
        remote.bytes -= std::mem::take(&mut pending.payload).len();
        while remote.unanswered.front().is_some_and(|p| p.answered) {
            remote.unanswered.pop_front();
            remote.first += 1;
        }
        let Some(waiter) = waiter else { return Ok(()) };
        if let (1, Waiter::CatchUp { handle, partition }) = (tag, waiter) {
            let page = Page::decode(body).map_err(|_| Broken::Malformed)?;
            self.page(handle, partition, &page);
        } else {
            let frame = proto::decode_server(body).map_err(|_| Broken::Malformed)?;
            self.answered(waiter, frame.body);
        }
        Ok(())
    }

    /// Tells clients that have waited too long that the outcome is not known. Their requests are
    /// still repeated to the owner: a retry with the same key then finds the first result.
    pub(crate) fn give_up_waiting(&mut self) {
        let now_ms = self.now_ms;
        let mut given_up = Vec::new();
        for remote in &mut self.links.remotes {
            for pending in &mut remote.unanswered {
                let seat = matches!(pending.waiter, Some(Waiter::Seat { .. }));
                let patience_ms = if seat && !remote.open {
                    SEAT_PATIENCE_MS
                } else {
                    PATIENCE_MS
                };
                if pending.asked_ms + patience_ms > now_ms {
                    continue;
                }
                match pending.waiter {
                    Some(Waiter::CatchUp { .. }) | None => {}
                    Some(waiter) => {
                        pending.waiter = None;
                        given_up.push((waiter, pending.kind));
                    }
                }
            }
        }
        for (waiter, kind) in given_up {
            let code = match kind {
                Kind::Command => &codes::OUTCOME_UNKNOWN,
                _ => &codes::PARTITION_UNAVAILABLE,
            };
            self.answered(waiter, ServerBody::error(code, 0, ""));
        }
    }
}

fn queue_request(
    link: &mut super::Link,
    kind: Kind,
    partition: u16,
    epoch: u64,
    number: u64,
    payload: &[u8],
) {
    link.queue(kind, partition, epoch, |out| {
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(payload);
    });
}

#[cfg(all(test, not(feature = "simulation")))]
mod tests {
    use super::super::frame;
    use super::*;
    use crate::config::EngineConfig;
    use crate::system::System;
    use imfast_routes::RouteTable;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::sync::Arc;

    /// A gateway with a link to worker 1, which owns partition 1, and what that sent.
    fn gateway() -> (Engine, Handle, rustix::fd::OwnedFd) {
        let routes = RouteTable::heap(1 << 8).expect("a table");
        let config = EngineConfig::example(2);
        let mut engine = Engine::new(config, Arc::new(routes), System).expect("an engine");
        let (near, far) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::NONBLOCK,
            None,
        )
        .expect("a pair");
        let handle = engine
            .adopt_link(near, Side::Gateway, Some(1))
            .expect("a link");
        engine.links.remotes[1].link = Some(handle);
        (engine, handle, far)
    }

    /// How the gateway takes a frame.
    fn take(
        engine: &mut Engine,
        link: Handle,
        kind: Kind,
        partition: u16,
        payload: &[u8],
    ) -> Result<(), Broken> {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, kind, partition, 0, 1, |out| {
            out.extend_from_slice(payload);
        });
        let (frame, _) = frame::read(&bytes).expect("a frame").expect("a whole one");
        engine.gateway_frame(link, &frame)
    }

    #[test]
    fn a_row_of_no_partition_breaks_the_link_and_nothing_else() {
        let (mut engine, link, _owner) = gateway();
        for kind in [Kind::Deliver, Kind::DeliverEphemeral, Kind::Watermark] {
            let taken = take(&mut engine, link, kind, NO_PARTITION, &[0; 9]);
            assert_eq!(taken, Err(Broken::Malformed), "{kind:?}");
            let taken = take(&mut engine, link, kind, NO_PARTITION, &[0; 8]);
            assert_eq!(taken, Err(Broken::Malformed), "{kind:?}");
        }
        assert_eq!(engine.watermarks, [0, 0]);
    }

    #[test]
    fn a_second_welcome_breaks_the_link_and_repeats_no_request() {
        let (mut engine, link, _owner) = gateway();
        assert_eq!(
            take(&mut engine, link, Kind::Welcome, NO_PARTITION, &[]),
            Ok(())
        );
        let pending = |engine: &Engine| {
            engine
                .links
                .slab
                .resolve(link)
                .map(super::super::Link::pending)
        };
        let waiter = Waiter::Client {
            handle: Handle::from_bits(u64::MAX),
            frame: 1,
            counted: false,
        };
        engine.request(1, Kind::Ephemeral, vec![1; 10], waiter);
        let before = pending(&engine);
        let again = take(&mut engine, link, Kind::Welcome, NO_PARTITION, &[]);
        assert_eq!(again, Err(Broken::Malformed));
        assert_eq!(pending(&engine), before);
    }
}
