//! Other workers' way to our partitions.

use super::frame::{Frame, Kind, NO_PARTITION};
use super::gateway_side::UNKNOWN;
use super::link::Broken;
use crate::delivery::Arrival;
use crate::engine::Engine;
use crate::ephemeral::Ephemeral;
use crate::faults;
use crate::notices::Notice;
use crate::origin::{Origin, Sender};
use crate::owner::with_arrival;
use crate::presence::Told;
use crate::query::{Page, Query};
use crate::seats::Seating;
use crate::slab::Handle;
use imfast_faults::{Fault, on};
use imfast_partition::{Audience, Delivery, Incoming};
use imfast_wire::frames::proto;
use imfast_wire::frames::server::{ServerBody, ServerFrame};

/// Bytes that a link that fell behind is given at a time.
const FEED_BYTES: usize = 1 << 20;

impl Engine {
    /// Serves a frame from a gateway.
    pub(super) fn owner_frame(&mut self, handle: Handle, frame: &Frame<'_>) -> Result<(), Broken> {
        match frame.kind {
            Kind::Hello => return self.greeted(handle, frame.payload),
            Kind::Beat => return Ok(()),
            Kind::Unseated => {
                let number = frame.payload.try_into().map_err(|_| Broken::Malformed)?;
                let worker = self.links.slab.resolve(handle).and_then(|link| link.peer);
                self.fenced(worker.ok_or(Broken::Malformed)?, u64::from_le_bytes(number));
                return Ok(());
            }
            _ => {}
        }
        let owned = self
            .owned
            .get(frame.partition as usize)
            .and_then(Option::as_ref);
        let current = match owned {
            Some(owned) => owned.epoch == frame.epoch || on(Fault::StaleFrameAccepted),
            // Its disk does not let it be opened again: whoever asks is told so. Breaking the link
            // would cut off our other partitions, over and over.
            None => self.owns(frame.partition),
        };
        if !current {
            return Err(Broken::StaleEpoch);
        }
        let (number, rest) = frame.payload.split_first_chunk().ok_or(Broken::Malformed)?;
        let origin = Origin::Link {
            link: handle,
            request: u64::from_le_bytes(*number),
        };
        match frame.kind {
            Kind::Command => {
                self.enqueue(
                    frame.partition,
                    Incoming {
                        command: rest.to_vec(),
                        origin,
                    },
                );
            }
            Kind::Ephemeral => {
                let (bits, command) = rest.split_first_chunk().ok_or(Broken::Malformed)?;
                let worker = self.links.slab.resolve(handle).and_then(|link| link.peer);
                let sender = Sender {
                    worker: worker.ok_or(Broken::Malformed)?,
                    handle: Handle::from_bits(u64::from_le_bytes(*bits)),
                };
                let message = Ephemeral::parse(command);
                self.send_ephemeral(frame.partition, &message, sender, origin);
            }
            Kind::Cursor => self.take_cursor(frame.partition, rest.to_vec(), origin),
            Kind::Seat => {
                let worker = self.links.slab.resolve(handle).and_then(|link| link.peer);
                let seating = Seating::decode(rest).ok_or(Broken::Malformed)?;
                let worker = worker.ok_or(Broken::Malformed)?;
                self.take_seat(frame.partition, worker, &seating, origin);
            }
            Kind::Presence => {
                let worker = self.links.slab.resolve(handle).and_then(|link| link.peer);
                let told = Told::decode(rest).ok_or(Broken::Malformed)?;
                let worker = worker.ok_or(Broken::Malformed)?;
                self.take_presence(frame.partition, worker, &told, origin);
            }
            Kind::Query => {
                let query = Query::decode(rest).map_err(|_| Broken::Malformed)?;
                self.serve_query(frame.partition, &query, origin);
            }
            _ => return Err(Broken::Malformed),
        }
        Ok(())
    }

    /// A gateway introduced itself: it is told our epochs and gets what it missed.
    fn greeted(&mut self, handle: Handle, payload: &[u8]) -> Result<(), Broken> {
        let (worker, marks) = payload.split_first().ok_or(Broken::Malformed)?;
        let (marks, rest) = marks.as_chunks::<10>();
        let slot = self
            .links
            .accepted
            .get_mut(*worker as usize)
            .ok_or(Broken::Malformed)?;
        if !rest.is_empty() {
            return Err(Broken::Malformed);
        }
        if let Some(older) = slot.replace(handle) {
            self.break_link(older, Broken::Replaced);
            self.links.accepted[*worker as usize] = Some(handle);
        }
        let mut told = Vec::new();
        for (partition, owned) in self.owned.iter().enumerate() {
            if let Some(owned) = owned {
                told.extend_from_slice(&(partition as u16).to_le_bytes());
                told.extend_from_slice(&owned.epoch.to_le_bytes());
                told.extend_from_slice(&owned.partition.position().to_le_bytes());
            }
        }
        let Some(link) = self.links.slab.resolve_mut(handle) else {
            return Ok(());
        };
        link.peer = Some(*worker);
        link.open = true;
        link.queue(Kind::Welcome, NO_PARTITION, 0, |out| {
            out.extend_from_slice(&told);
        });
        for mark in marks {
            let partition = u16::from_le_bytes([mark[0], mark[1]]);
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&mark[2..]);
            let watermark = u64::from_le_bytes(bytes);
            let committed = self
                .owned
                .get(partition as usize)
                .and_then(Option::as_ref)
                .map_or(0, |owned| owned.partition.position());
            if watermark != UNKNOWN && watermark < committed {
                link.behind.push((partition, watermark));
            }
        }
        let worker = *worker;
        self.links.touch(handle.slot);
        self.fence_again(worker);
        Ok(())
    }

    /// Tells a worker to serve a session no more.
    pub(crate) fn unseat_over_link(&mut self, worker: u8, numbers: [u64; 3]) {
        let Some(Some(handle)) = self.links.accepted.get(worker as usize).copied() else {
            return;
        };
        let Some(link) = self.links.slab.resolve_mut(handle) else {
            return;
        };
        link.queue(Kind::Unseat, NO_PARTITION, 0, |out| {
            for number in numbers {
                out.extend_from_slice(&number.to_le_bytes());
            }
        });
        self.links.touch(handle.slot);
    }

    /// Gives a link that has drained more: rows that it missed, else the next catch-up page that
    /// waits. Returns whether something was done.
    pub(super) fn feed_link(&mut self, handle: Handle) -> bool {
        let Some(link) = self.links.slab.resolve_mut(handle) else {
            return false;
        };
        let Some(&(partition, position)) = link.behind.first() else {
            let Some((partition, query, origin)) = link.deferred.pop_front() else {
                return false;
            };
            self.answer_query(partition, &query, origin);
            return true;
        };
        let Some(peer) = link.peer else { return false };
        let Some(Some(owned)) = self.owned.get(partition as usize) else {
            return false;
        };
        let epoch = owned.epoch;
        // An archive that cannot be read now is asked again when the link is.
        let Ok(page) = owned
            .partition
            .deliveries_after(position, FEED_BYTES, self.wall_ms)
        else {
            faults::count(&mut self.faults, faults::Fault::ArchiveRead, self.now_ms);
            return false;
        };
        // Under the routes of now: who subscribed since catches up by itself.
        let wanted = page
            .deliveries
            .iter()
            .filter(|d| self.mask_of(d) & (1 << peer) != 0);
        let wanted: Vec<&Delivery> = wanted.collect();
        let Some(link) = self.links.slab.resolve_mut(handle) else {
            return false;
        };
        for delivery in wanted {
            with_arrival(partition, delivery, |arrival| {
                link.queue(Kind::Deliver, partition, epoch, |out| arrival.encode(out));
            });
        }
        link.queue(Kind::Watermark, partition, epoch, |out| {
            out.extend_from_slice(&page.through.to_le_bytes());
        });
        if page.complete {
            link.behind.remove(0);
        } else if let Some(entry) = link.behind.first_mut() {
            entry.1 = page.through;
        }
        true
    }

    /// A catch-up page must stand at its place in the stream: while its link is behind, it waits.
    /// It also waits while much is queued, so that a storm of catch-ups takes bounded memory.
    pub(crate) fn defer_for_link(&mut self, partition: u16, query: &Query, origin: Origin) -> bool {
        let Origin::Link { link, .. } = origin else {
            return false;
        };
        let Some(link) = self.links.slab.resolve_mut(link) else {
            return true;
        };
        if !link.is_behind(partition) && link.pending() < FEED_BYTES {
            return false;
        }
        link.deferred.push_back((partition, query.clone(), origin));
        true
    }

    /// Workers with a session that a row concerns.
    pub(crate) fn mask_of(&self, delivery: &Delivery) -> u64 {
        let tenant = &delivery.tenant;
        let user = |name: &str| {
            self.routes
                .workers(self.routes.user_key(tenant, name.as_bytes()))
                .0
        };
        let mask = match &delivery.audience {
            Audience::Direct { a, b } => user(a) | user(b),
            Audience::Group => {
                self.routes
                    .workers(
                        self.routes
                            .group_key(tenant, delivery.conversation.as_bytes()),
                    )
                    .0
            }
        };
        let told = delivery.change.iter().flat_map(|change| change.told());
        told.fold(mask, |mask, name| mask | user(name))
    }

    /// Queues a committed row for the workers in `mask`.
    pub(crate) fn deliver_over_links(&mut self, mask: u64, arrival: &Arrival<'_>) {
        let queue_bytes = self.links.queue_bytes;
        let mut full = false;
        self.each_link(mask, arrival.partition, |link, epoch| {
            if link.pending() > queue_bytes {
                full = true;
                // It is given the rest from memory once it has drained.
                link.behind.push((arrival.partition, arrival.position - 1));
            } else {
                link.queue(Kind::Deliver, arrival.partition, epoch, |out| {
                    arrival.encode(out);
                });
            }
        });
        if full {
            faults::count(&mut self.faults, faults::Fault::LinkFull, self.now_ms);
        }
    }

    /// Queues an ephemeral message for the workers in `mask`; a link that is behind goes without.
    pub(crate) fn ephemeral_over_links(
        &mut self,
        mask: u64,
        arrival: &Arrival<'_>,
        sender: Sender,
    ) {
        let queue_bytes = self.links.queue_bytes;
        self.each_link(mask, arrival.partition, |link, epoch| {
            if link.pending() <= queue_bytes {
                link.queue(Kind::DeliverEphemeral, arrival.partition, epoch, |out| {
                    out.push(sender.worker);
                    out.extend_from_slice(&sender.handle.to_bits().to_le_bytes());
                    arrival.encode(out);
                });
            }
        });
    }

    /// Queues a notice for the workers in `mask`; a link that is behind goes without.
    pub(crate) fn notice_over_links(&mut self, mask: u64, partition: u16, notice: &Notice<'_>) {
        let queue_bytes = self.links.queue_bytes;
        self.each_link(mask, partition, |link, epoch| {
            if link.pending() <= queue_bytes {
                link.queue(Kind::Notice, partition, epoch, |out| notice.encode(out));
            }
        });
    }

    /// Queues how a user stands for the workers in `mask`. One whose link is behind is told too:
    /// nothing tells it later.
    pub(crate) fn presence_over_links(&mut self, mask: u64, partition: u16, told: &[u8]) {
        let accepted = self.links.accepted.iter().enumerate();
        let watching = accepted.filter(|(worker, _)| mask & (1 << worker) != 0);
        let handles: Vec<Handle> = watching.filter_map(|(_, handle)| *handle).collect();
        let epoch = match self.owned.get(partition as usize) {
            Some(Some(owned)) => owned.epoch,
            _ => return,
        };
        for handle in handles {
            if let Some(link) = self.links.slab.resolve_mut(handle) {
                link.queue(Kind::Stands, partition, epoch, |out| {
                    out.extend_from_slice(told);
                });
                self.links.touch(handle.slot);
            }
        }
    }

    fn each_link(
        &mut self,
        mut mask: u64,
        partition: u16,
        mut act: impl FnMut(&mut super::Link, u64),
    ) {
        let Some(Some(owned)) = self.owned.get(partition as usize) else {
            return;
        };
        let epoch = owned.epoch;
        while mask != 0 {
            let worker = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let Some(Some(handle)) = self.links.accepted.get(worker).copied() else {
                continue;
            };
            let Some(link) = self.links.slab.resolve_mut(handle) else {
                continue;
            };
            if !link.is_behind(partition) {
                act(link, epoch);
                self.links.touch(handle.slot);
            }
        }
    }

    /// A batch was committed: links that carry something now carry the watermark as well; the
    /// others get it with the next beat.
    pub(crate) fn links_committed(&mut self, partition: u16, position: u64) {
        let Some(Some(owned)) = self.owned.get(partition as usize) else {
            return;
        };
        let epoch = owned.epoch;
        for handle in self.links.accepted.iter().flatten() {
            if let Some(link) = self.links.slab.resolve_mut(*handle)
                && link.pending() > 0
                && !link.is_behind(partition)
            {
                link.queue(Kind::Watermark, partition, epoch, |out| {
                    out.extend_from_slice(&position.to_le_bytes());
                });
            }
        }
    }

    /// Shows a gateway the last number of the stream and how far it reaches.
    pub(super) fn beat_as_owner(&mut self, handle: Handle) {
        let Some(link) = self.links.slab.resolve_mut(handle) else {
            return;
        };
        for (partition, owned) in self.owned.iter().enumerate() {
            let partition = partition as u16;
            if let Some(owned) = owned
                && !link.is_behind(partition)
            {
                let position = owned.partition.position();
                link.queue(Kind::Watermark, partition, owned.epoch, |out| {
                    out.extend_from_slice(&position.to_le_bytes());
                });
            }
        }
        self.links.touch(handle.slot);
    }

    /// A partition has a new epoch: every gateway is to say again where it stands.
    pub(crate) fn break_owner_links(&mut self) {
        if on(Fault::StaleFrameAccepted) {
            return;
        }
        for handle in self.links.accepted.clone().into_iter().flatten() {
            self.break_link(handle, Broken::Replaced);
        }
    }

    /// Answers a request that came over a link.
    pub(crate) fn reply(
        &mut self,
        partition: u16,
        link: Handle,
        request: u64,
        body: &ServerBody<'_>,
    ) {
        self.reply_with(partition, link, request, 0, |out| {
            proto::encode_server(
                &ServerFrame {
                    id: 0,
                    body: body.clone(),
                },
                out,
            );
        });
    }

    /// Answers with a page of a catch-up.
    pub(crate) fn reply_page(&mut self, partition: u16, link: Handle, request: u64, page: &Page) {
        self.reply_with(partition, link, request, 1, |out| page.encode(out));
    }

    fn reply_with(
        &mut self,
        partition: u16,
        link: Handle,
        request: u64,
        tag: u8,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        // A partition that is not open has no epoch to answer in.
        let (partition, epoch) = match self.owned.get(partition as usize) {
            Some(Some(owned)) => (partition, owned.epoch),
            _ => (NO_PARTITION, 0),
        };
        let slot = link.slot;
        // The link broke: its gateway repeats the request and finds the result by its key.
        let Some(link) = self.links.slab.resolve_mut(link) else {
            return;
        };
        link.queue(Kind::Reply, partition, epoch, |out| {
            out.extend_from_slice(&request.to_le_bytes());
            out.push(tag);
            write(out);
        });
        self.links.touch(slot);
    }
}
