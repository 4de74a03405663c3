//! One session in each seat: a device of a user, or what else the policy lets stand alone.
//!
//! A seat belongs to the worker that owns the partition of its user's name, which every worker asks
//! before it begins a session there. A newer session takes the seat once the older one is fenced: its
//! worker serves nothing of it any more and has told it `kicked`. A seat's owner that died knows
//! nothing; the other workers tell its successor who sits where, and the newest stays.

use crate::attach::Identity;
use crate::connection::{Held, HeldRequest, Phase};
use crate::engine::Engine;
use crate::links::Kind;
use crate::origin::{Origin, Waiter};
use crate::slab::Handle;
use crate::users::unscoped;
use crate::verbs::DEFAULT_DEVICE;
use hashbrown::HashMap;
use imfast_wire::frames::codes;
use imfast_wire::frames::id;
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use imfast_wire::protobuf::{Reader, put_bytes, put_number};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

/// A worker that does not answer is dead by then, or has been killed for its silence.
const FENCED_WITHIN_MS: u64 = 5_000;

/// How many sessions of a user may stand side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DevicePolicy {
    /// One for each device. Those that name no device are not told apart and stand beside all.
    #[default]
    Any,
    /// One for each class of devices: what stands before the first `-` of a device's id.
    Class,
    /// One: the newest.
    Newest,
}

impl DevicePolicy {
    /// The seat that a device takes among those of its user; none takes none.
    fn seat(self, device: &str) -> Option<&str> {
        match self {
            Self::Any => (device != DEFAULT_DEVICE).then_some(device),
            Self::Class => device.split('-').next(),
            Self::Newest => Some(""),
        }
    }
}

/// What is asked of a seat's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seating<'a> {
    pub leaves: bool,
    /// It sits already, and the seat's owner is a new one.
    pub again: bool,
    pub tenant: &'a str,
    pub user: &'a str,
    pub seat: &'a str,
    /// The worker's own name of the session.
    pub session: u64,
    /// The worker's life in which it has that name: its successor gives the same names anew.
    pub life: u64,
    /// When the session began, milliseconds since 1970: of those told again the newest stays.
    pub since_ms: u64,
}

impl<'a> Seating<'a> {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        put_number(&mut out, 1, u64::from(self.leaves));
        put_bytes(&mut out, 2, self.tenant.as_bytes());
        put_bytes(&mut out, 3, self.user.as_bytes());
        put_bytes(&mut out, 4, self.seat.as_bytes());
        put_number(&mut out, 5, self.session);
        put_number(&mut out, 6, self.since_ms);
        put_number(&mut out, 7, u64::from(self.again));
        put_number(&mut out, 8, self.life);
        out
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut seating = Self {
            leaves: false,
            again: false,
            tenant: "",
            user: "",
            seat: "",
            session: 0,
            life: 0,
            since_ms: 0,
        };
        let mut reader = Reader::new(bytes);
        while let Some((number, value)) = reader.field().ok()? {
            match number {
                1 => seating.leaves = value.number() != 0,
                2 => seating.tenant = value.text(reader.offset()).ok()?,
                3 => seating.user = value.text(reader.offset()).ok()?,
                4 => seating.seat = value.text(reader.offset()).ok()?,
                5 => seating.session = value.number(),
                6 => seating.since_ms = value.number(),
                7 => seating.again = value.number() != 0,
                8 => seating.life = value.number(),
                _ => {}
            }
        }
        Some(seating)
    }
}

/// Who sits in a seat.
#[derive(Debug, Clone, Copy)]
struct Sitter {
    worker: u8,
    session: u64,
    life: u64,
    since_ms: u64,
    again: bool,
}

/// A session that has to be fenced before somebody gets an answer.
struct Fence {
    number: u64,
    /// The seat.
    key: u128,
    worker: u8,
    session: u64,
    life: u64,
    until_ms: u64,
    partition: u16,
    origin: Origin,
}

/// The seats of the users whose partitions are owned here.
#[derive(Default)]
pub(crate) struct Seats {
    hashers: [RandomState; 2],
    sitters: HashMap<u128, Sitter>,
    fences: Vec<Fence>,
    fences_made: u64,
}

impl Seats {
    /// A name of a seat that nobody can guess: two that are different have different ones.
    fn key(&self, seating: &Seating<'_>) -> u128 {
        let parts = (seating.tenant, seating.user, seating.seat);
        let [high, low] = [0, 1].map(|at: usize| u128::from(self.hashers[at].hash_one(parts)));
        high << 64 | low
    }

    pub(crate) fn len(&self) -> usize {
        self.sitters.len()
    }
}

impl Engine {
    /// Python accepted a connection's token: its session begins, once the seat that it takes is free.
    pub fn connected(&mut self, handle: Handle, identity: &Identity) {
        let Some(held) = self.take_held(handle) else {
            return;
        };
        let device = self.io.connections.get(handle.slot).map(|c| &*c.device);
        let seat = device.and_then(|device| self.config.device_policy.seat(device));
        let sits = matches!(
            held.request,
            HeldRequest::Connect { .. } | HeldRequest::Events { .. }
        );
        let (Some(seat), true) = (seat, sits) else {
            return self.begin_session(handle, held, identity);
        };
        let seating = Seating {
            leaves: false,
            again: false,
            tenant: &identity.tenant,
            user: &identity.user,
            seat,
            session: handle.to_bits(),
            life: self.key_nonce,
            since_ms: self.wall_ms,
        };
        let (partition, payload) = (self.home_of(&seating), seating.encode());
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            connection.seated_ms = self.wall_ms;
            let waiting = Box::new((held, identity.clone()));
            connection.rare.get_or_insert_default().held = Some(Held {
                frame: waiting.0.frame,
                request: HeldRequest::Seat(waiting),
            });
        }
        self.ask_seat(partition, payload, Waiter::Seat { handle });
    }

    /// The partition whose owner has a user's seats.
    fn home_of(&self, seating: &Seating<'_>) -> u16 {
        id::partition_of(seating.tenant, seating.user, self.partitions())
    }

    fn ask_seat(&mut self, partition: u16, payload: Vec<u8>, waiter: Waiter) {
        if !self.owns(partition) {
            return self.request(partition, Kind::Seat, payload, waiter);
        }
        if let Some(seating) = Seating::decode(&payload) {
            self.take_seat(
                partition,
                self.config.worker,
                &seating,
                Origin::Here(waiter),
            );
        }
    }

    /// The seat's owner answered. Where it cannot, the session begins all the same: it is told to it
    /// as soon as it can be.
    pub(crate) fn seat_answered(&mut self, handle: Handle, body: &ServerBody<'_>) {
        let replaced = u32::from(codes::SESSION_REPLACED.number);
        let taken = matches!(body, ServerBody::Error { code, .. } if *code == replaced);
        if taken {
            return self.unseat(handle);
        }
        // One that sat here before is in the middle of something else.
        let rare = self.io.connections.resolve(handle);
        let held = rare.and_then(|c| c.rare.as_ref()?.held.as_ref());
        if !held.is_some_and(|held| matches!(held.request, HeldRequest::Seat(_))) {
            return;
        }
        let held = self.take_held(handle);
        if let Some(HeldRequest::Seat(waiting)) = held.map(|held| held.request) {
            let (held, identity) = *waiting;
            self.begin_session(handle, held, &identity);
        }
    }

    /// Tells a seat's owner that a session is over.
    pub(crate) fn leave_seat(&mut self, slot: u32) {
        let Some(payload) = self.seating_of(slot, true) else {
            return;
        };
        if let Some(seating) = Seating::decode(&payload) {
            let partition = self.home_of(&seating);
            self.ask_seat(partition, payload, Waiter::Nobody);
        }
    }

    /// What a session that sits somewhere says to the seat's owner.
    fn seating_of(&self, slot: u32, leaves: bool) -> Option<Vec<u8>> {
        let connection = self.io.connections.get(slot)?;
        let seat = self.config.device_policy.seat(&connection.device)?;
        if connection.seated_ms == 0 {
            return None;
        }
        let key = Rc::clone(&self.user_of(slot)?.key);
        let (tenant, user) = unscoped(&key);
        let seating = Seating {
            leaves,
            again: !leaves,
            tenant,
            user,
            seat,
            session: self.io.connections.handle(slot)?.to_bits(),
            life: self.key_nonce,
            since_ms: connection.seated_ms,
        };
        Some(seating.encode())
    }

    /// A partition has another owner, which does not know who sits where.
    pub(crate) fn sit_again(&mut self, partitions: &[u16]) {
        let slots: Vec<u32> = self.io.connections.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(payload) = self.seating_of(slot, false) else {
                continue;
            };
            let Some(seating) = Seating::decode(&payload) else {
                continue;
            };
            let partition = self.home_of(&seating);
            let handle = Handle::from_bits(seating.session);
            if partitions.contains(&partition) {
                self.ask_seat(partition, payload, Waiter::Seat { handle });
            }
        }
    }

    /// Gives a seat to a session of a worker, or takes it from one.
    pub(crate) fn take_seat(
        &mut self,
        partition: u16,
        worker: u8,
        seating: &Seating<'_>,
        origin: Origin,
    ) {
        let key = self.seats.key(seating);
        let before = self.seats.sitters.get(&key).copied();
        let name = (worker, seating.life, seating.session);
        let same = before.is_some_and(|s| (s.worker, s.life, s.session) == name);
        if seating.leaves {
            if same {
                self.seats.sitters.remove(&key);
            }
            return self.answer(partition, origin, ServerBody::Acked);
        }
        // Who comes takes the seat, whatever the clocks say: one of them may have been set back.
        // Who is told again had it before whoever came meanwhile.
        if let Some(sitter) = before.filter(|_| !same && seating.again)
            && (!sitter.again || sitter.since_ms >= seating.since_ms)
        {
            let body = ServerBody::error(&codes::SESSION_REPLACED, 0, "");
            return self.answer(partition, origin, body);
        }
        self.seats.sitters.insert(
            key,
            Sitter {
                worker,
                session: seating.session,
                life: seating.life,
                since_ms: seating.since_ms,
                again: seating.again,
            },
        );
        if same && let Some(fence) = self.seats.fences.iter_mut().find(|f| f.key == key) {
            // Asked again over another link.
            fence.origin = origin;
            return;
        }
        match before {
            Some(sitter) if !same && sitter.worker == self.config.worker => {
                self.unseat(Handle::from_bits(sitter.session));
            }
            Some(sitter) if !same => return self.fence(partition, key, sitter, origin),
            _ => {}
        }
        self.answer(partition, origin, ServerBody::Acked);
    }

    fn fence(&mut self, partition: u16, key: u128, sitter: Sitter, origin: Origin) {
        self.seats.fences_made += 1;
        let number = self.seats.fences_made;
        self.seats.fences.push(Fence {
            number,
            key,
            worker: sitter.worker,
            session: sitter.session,
            life: sitter.life,
            until_ms: self.now_ms + FENCED_WITHIN_MS,
            partition,
            origin,
        });
        self.unseat_over_link(sitter.worker, [number, sitter.session, sitter.life]);
    }

    /// A link from a worker stands again: what it may have missed is said once more.
    pub(crate) fn fence_again(&mut self, worker: u8) {
        let fences = self.seats.fences.iter().filter(|f| f.worker == worker);
        let missed: Vec<[u64; 3]> = fences.map(|f| [f.number, f.session, f.life]).collect();
        for numbers in missed {
            self.unseat_over_link(worker, numbers);
        }
    }

    /// A worker serves a session no more.
    pub(crate) fn fenced(&mut self, worker: u8, number: u64) {
        let fences = &mut self.seats.fences;
        let at = fences
            .iter()
            .position(|fence| (fence.worker, fence.number) == (worker, number));
        if let Some(at) = at {
            let Fence {
                partition, origin, ..
            } = fences.swap_remove(at);
            self.answer(partition, origin, ServerBody::Acked);
        }
    }

    /// Ends waiting for workers that are dead by now.
    pub(crate) fn give_up_fencing(&mut self) {
        let now_ms = self.now_ms;
        while let Some(at) = self.seats.fences.iter().position(|f| f.until_ms <= now_ms) {
            let fence = self.seats.fences.swap_remove(at);
            self.answer(fence.partition, fence.origin, ServerBody::Acked);
        }
    }

    /// Ends a session whose seat a newer one has taken.
    pub(crate) fn unseat(&mut self, handle: Handle) {
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        // Its owner knows, and must not be told that the seat is free.
        connection.seated_ms = 0;
        let held = connection.rare.as_mut().and_then(|rare| rare.held.take());
        let unit = self.unit();
        match (connection_phase(&self.io, handle), held) {
            (Some(Phase::Connected), _) => {
                let reason = codes::SESSION_REPLACED.name.into();
                let body = ServerBody::Kicked { reason };
                self.io.push(handle.slot, &ServerFrame::push(body));
            }
            (_, Some(Held { frame, .. })) => {
                self.io
                    .push_error(handle.slot, frame, &codes::SESSION_REPLACED, "");
            }
            _ => {}
        }
        self.io.close(handle.slot, &codes::SESSION_REPLACED, unit);
    }
}

fn connection_phase(io: &crate::io::Io, handle: Handle) -> Option<Phase> {
    io.connections.resolve(handle).map(|c| c.phase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seating_survives_the_link() {
        let seating = Seating {
            leaves: true,
            again: true,
            tenant: "default",
            user: "alice",
            seat: "web-1",
            session: u64::MAX,
            life: 9,
            since_ms: 7,
        };
        assert_eq!(Seating::decode(&seating.encode()), Some(seating));
    }

    #[test]
    fn policies_say_which_devices_share_a_seat() {
        let seat = |policy: DevicePolicy, device| policy.seat(device).map(str::to_owned);
        let device = |text: &str| Some(text.to_owned());
        assert_eq!(seat(DevicePolicy::Any, "web-1"), device("web-1"));
        assert_eq!(seat(DevicePolicy::Any, DEFAULT_DEVICE), None);
        assert_eq!(seat(DevicePolicy::Class, "web-1"), device("web"));
        assert_eq!(seat(DevicePolicy::Class, "phone"), device("phone"));
        assert_eq!(
            seat(DevicePolicy::Class, DEFAULT_DEVICE),
            device(DEFAULT_DEVICE)
        );
        assert_eq!(seat(DevicePolicy::Newest, "web-1"), device(""));
    }
}
