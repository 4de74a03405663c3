//! Byte streams between clients and workers, and between workers.

use super::World;
use std::collections::{BTreeMap, VecDeque};

/// What a worker listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    Http,
    Tcp,
    Links,
}

/// The workers at the ends of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkEnds {
    pub gateway: u8,
    pub owner: u8,
}

/// Bytes that fit between the ends of one direction, unless told otherwise.
const CAPACITY: usize = 256 * 1024;
/// Bytes before the payload's length in a link's frame.
const LENGTH_BYTES: usize = 4;

#[derive(Default)]
pub(crate) struct Network {
    streams: BTreeMap<u32, Stream>,
    opened: u32,
    /// Who waits to be accepted. The queues outlive their workers: the supervisor holds them.
    waiting: BTreeMap<(u8, Port), VecDeque<u32>>,
    /// Directions that got bytes or an end since the last look.
    touched: Vec<(u32, u8)>,
    reads: u64,
}

/// One connection. Side 0 dialled, side 1 accepts; a direction bears the number of its writer.
struct Stream {
    directions: [Direction; 2],
    open: [bool; 2],
    reset: bool,
    worker: u8,
    link: Option<LinkEnds>,
}

#[derive(Default)]
struct Direction {
    transit: VecDeque<u8>,
    arrived: VecDeque<u8>,
    /// The writer sends no more.
    ended: bool,
    /// The reader has been told so.
    end_arrived: bool,
    capacity: usize,
    /// On a link: bytes in transit that belong to a frame of which a part has arrived.
    rest_of_frame: usize,
}

/// What a read or write finds.
pub(crate) enum Moved {
    Bytes(usize),
    Nothing,
    Gone,
}

impl Network {
    pub(crate) fn open(&mut self, worker: u8, port: Port, link: Option<LinkEnds>) -> u32 {
        self.opened += 1;
        let direction = || Direction {
            capacity: CAPACITY,
            ..Direction::default()
        };
        let stream = Stream {
            directions: [direction(), direction()],
            open: [true, true],
            reset: false,
            worker,
            link,
        };
        self.streams.insert(self.opened, stream);
        self.waiting
            .entry((worker, port))
            .or_default()
            .push_back(self.opened);
        self.opened
    }

    pub(crate) fn accept(&mut self, worker: u8, port: Port) -> Option<u32> {
        self.waiting.get_mut(&(worker, port))?.pop_front()
    }

    pub(crate) fn has_waiting(&self, worker: u8, port: Port) -> bool {
        self.waiting
            .get(&(worker, port))
            .is_some_and(|queue| !queue.is_empty())
    }

    pub(crate) fn read(&mut self, stream: u32, side: usize, buffer: &mut [u8]) -> Moved {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return Moved::Gone;
        };
        let direction = &mut entry.directions[1 - side];
        let count = direction.arrived.len().min(buffer.len());
        if count > 0 {
            for (place, byte) in buffer.iter_mut().zip(direction.arrived.drain(..count)) {
                *place = byte;
            }
            self.reads += 1;
            return Moved::Bytes(count);
        }
        if entry.reset || direction.end_arrived {
            Moved::Gone
        } else {
            Moved::Nothing
        }
    }

    pub(crate) fn write(&mut self, stream: u32, side: usize, bytes: &[u8]) -> Moved {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return Moved::Gone;
        };
        let peer_open = entry.open[1 - side];
        if entry.reset || (!peer_open && entry.directions[1 - side].end_arrived) {
            return Moved::Gone;
        }
        let direction = &mut entry.directions[side];
        let count = direction.room().min(bytes.len());
        if count == 0 {
            return Moved::Nothing;
        }
        // Nobody will read what is written before the news of the peer's end comes.
        if peer_open {
            direction.transit.extend(&bytes[..count]);
            self.touched.push((stream, side as u8));
        }
        Moved::Bytes(count)
    }

    pub(crate) fn end(&mut self, stream: u32, side: usize) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.directions[side].ended = true;
            self.touched.push((stream, side as u8));
        }
    }

    pub(crate) fn close(&mut self, stream: u32, side: usize) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        entry.open[side] = false;
        let incoming = &mut entry.directions[1 - side];
        incoming.transit.clear();
        incoming.arrived.clear();
        if entry.open == [false, false] {
            self.streams.remove(&stream);
        } else {
            self.end(stream, side);
        }
    }

    pub(crate) fn is_open(&self, stream: u32, side: usize) -> bool {
        self.streams
            .get(&stream)
            .is_some_and(|entry| entry.open[side])
    }

    /// Whether a side can read, can write, and has lost its peer.
    pub(crate) fn readiness(&self, stream: u32, side: usize) -> (bool, bool, bool) {
        let Some(entry) = self.streams.get(&stream) else {
            return (false, false, true);
        };
        let (incoming, outgoing) = (&entry.directions[1 - side], &entry.directions[side]);
        let ended = incoming.end_arrived || entry.reset;
        let readable = ended || !incoming.arrived.is_empty();
        (readable, outgoing.room() > 0 || entry.reset, entry.reset)
    }
}

impl Direction {
    fn room(&self) -> usize {
        self.capacity
            .saturating_sub(self.transit.len() + self.arrived.len())
    }

    /// Takes `count` bytes out of the transit, counting frames where the stream is a link.
    fn take(&mut self, count: usize, framed: bool) -> Vec<u8> {
        let taken: Vec<u8> = self.transit.drain(..count).collect();
        let mut at = 0;
        while framed && at < taken.len() {
            if self.rest_of_frame == 0 {
                self.rest_of_frame = frame_bytes(taken[at..].iter().chain(&self.transit));
            }
            let step = self.rest_of_frame.min(taken.len() - at);
            self.rest_of_frame -= step;
            at += step;
        }
        taken
    }
}

/// Length of the frame that begins here, or of what is there of it.
fn frame_bytes<'a>(bytes: impl Iterator<Item = &'a u8>) -> usize {
    let mut length = [0; LENGTH_BYTES];
    let mut found = 0;
    for (place, byte) in length.iter_mut().zip(bytes) {
        *place = *byte;
        found += 1;
    }
    if found < LENGTH_BYTES {
        found
    } else {
        u32::from_le_bytes(length) as usize + LENGTH_BYTES
    }
}

/// What a test does with the network.
impl World {
    /// A client dials a worker; the number names the stream, of which the client has side 0.
    pub fn dial(&self, worker: u8, port: Port) -> u32 {
        self.state_mut().network.open(worker, port, None)
    }

    /// Writes as a client; returns how many bytes were taken.
    pub fn client_write(&self, stream: u32, bytes: &[u8]) -> usize {
        match self.state_mut().network.write(stream, 0, bytes) {
            Moved::Bytes(count) => count,
            Moved::Nothing | Moved::Gone => 0,
        }
    }

    /// Appends what arrived at a client to `out`; false once nothing more will come.
    pub fn client_read(&self, stream: u32, out: &mut Vec<u8>) -> bool {
        let mut state = self.state_mut();
        let Some(entry) = state.network.streams.get_mut(&stream) else {
            return false;
        };
        let direction = &mut entry.directions[1];
        out.extend(direction.arrived.drain(..));
        !(entry.reset || direction.end_arrived)
    }

    /// A client goes.
    pub fn client_close(&self, stream: u32) {
        self.state_mut().network.close(stream, 0);
    }

    /// Bounds what fits between the ends of one direction.
    pub fn set_capacity(&self, stream: u32, side: u8, bytes: usize) {
        if let Some(entry) = self.state_mut().network.streams.get_mut(&stream) {
            entry.directions[side as usize].capacity = bytes;
        }
    }

    /// Directions that got bytes or an end since the last call.
    pub fn take_touched(&self) -> Vec<(u32, u8)> {
        std::mem::take(&mut self.state_mut().network.touched)
    }

    /// Bytes under way in one direction; none where the stream is gone or nothing is under way. An
    /// end counts as a byte.
    pub fn in_transit(&self, stream: u32, side: u8) -> usize {
        let state = self.state();
        let Some(entry) = state.network.streams.get(&stream) else {
            return 0;
        };
        let direction = &entry.directions[side as usize];
        direction.transit.len() + usize::from(direction.ended && !direction.end_arrived)
    }

    /// Lets up to `count` bytes arrive, and the end behind them. Returns the worker that may read
    /// them; none where it is a client, or nobody.
    pub fn deliver(&self, stream: u32, side: u8, count: usize) -> Option<u8> {
        let mut state = self.state_mut();
        let entry = state.network.streams.get_mut(&stream)?;
        let framed = entry.link.is_some();
        let direction = &mut entry.directions[side as usize];
        let count = count.min(direction.transit.len());
        let bytes = direction.take(count, framed);
        direction.arrived.extend(bytes);
        if direction.transit.is_empty() && direction.ended {
            direction.end_arrived = true;
        }
        match (side, entry.link) {
            (0, _) => Some(entry.worker),
            (_, Some(ends)) => Some(ends.gateway),
            (_, None) => None,
        }
    }

    /// Breaks a stream: what is under way is lost, and both ends learn it. Returns the workers
    /// that do.
    pub fn cut(&self, stream: u32) -> Vec<u8> {
        let mut state = self.state_mut();
        let Some(entry) = state.network.streams.get_mut(&stream) else {
            return Vec::new();
        };
        entry.reset = true;
        for direction in &mut entry.directions {
            direction.transit.clear();
        }
        let mut told = vec![entry.worker];
        told.extend(entry.link.map(|ends| ends.gateway));
        told
    }

    /// Takes the next whole frame out of a link's direction, as if it had never been sent.
    pub fn lose_frame(&self, stream: u32, side: u8) -> bool {
        let mut state = self.state_mut();
        let Some(entry) = state.network.streams.get_mut(&stream) else {
            return false;
        };
        let direction = &mut entry.directions[side as usize];
        let start = direction.rest_of_frame;
        if start >= direction.transit.len() {
            return false;
        }
        let end = start + frame_bytes(direction.transit.iter().skip(start));
        if end > direction.transit.len() || end < start + LENGTH_BYTES {
            return false;
        }
        direction.transit.drain(start..end);
        true
    }

    /// Links between workers, by number.
    pub fn links(&self) -> Vec<(u32, LinkEnds)> {
        let state = self.state();
        let streams = state.network.streams.iter();
        streams
            .filter(|(_, stream)| !stream.reset)
            .filter_map(|(number, stream)| Some((*number, stream.link?)))
            .collect()
    }

    /// Reads that found bytes, on all workers.
    pub fn reads(&self) -> u64 {
        self.state().network.reads
    }
}
