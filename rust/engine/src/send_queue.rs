//! What a connection still has to be sent: a ring of chunks, either its own bytes or a view of
//! a buffer that a whole fan-out shares.
//!
//! Small frames for one connection are appended to one owned chunk, so that a burst of replies
//! is one `iovec`; a run of frames to a group is one shared chunk, whatever their number.
//!
//! For a socket that takes nothing, ephemeral frames are chunks of their own with a key, of which
//! a newer one takes the place of the older ([`SendQueue::append_newest`]). Nothing else moves.

use crate::system::{Socket, socket};
use hashbrown::HashMap;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

/// `iovec`s of one `sendmsg`. More than this is sent by a second call.
const IOVECS: usize = 64;
/// An owned chunk is closed at this size, so that no reallocation copies much.
const CHUNK: usize = 16 * 1024;
/// With more chunks a queue is no burst any more.
const SHORT: usize = 1;
/// Frames up to this size let a chunk outgrow its size by no more.
const SMALL: usize = 1024;
/// Buffers up to this size go back to the pool.
const POOLED: usize = 32 * 1024;

/// Where a queue is written to: a socket, or what seals bytes on their way to one.
pub(crate) trait Outlet {
    /// Takes as many bytes as it can; `AGAIN` where that is none.
    fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno>;
    /// As [`Outlet::send`], for bytes in several places.
    fn send_many(&mut self, slices: &[IoSlice<'_>]) -> Result<usize, Errno>;
}

impl Outlet for &Socket {
    fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        socket::send(self, bytes)
    }

    fn send_many(&mut self, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        socket::send_many(self, slices)
    }
}

/// A run of encoded frames that many connections send.
pub(crate) type Shared = Rc<Vec<u8>>;

/// Bytes that stand in one place.
enum Run {
    Owned(Vec<u8>),
    Shared {
        buffer: Shared,
        start: u32,
        end: u32,
    },
    /// One ephemeral frame. A copy: a view would hold the whole run that it came in.
    Newest(Box<[u8]>),
}

struct Chunk {
    run: Run,
    frames: u32,
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match &self.run {
            Run::Owned(bytes) => bytes,
            Run::Shared { buffer, start, end } => &buffer[*start as usize..*end as usize],
            Run::Newest(bytes) => bytes,
        }
    }
}

/// What a write achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Done,
    /// The socket's buffer is full; go on when it is writable.
    Blocked,
}

/// Empty byte buffers for reuse.
#[derive(Default)]
pub(crate) struct BufferPool {
    free: Vec<Vec<u8>>,
    /// Capacities of `free` together.
    free_bytes: usize,
    #[expect(
        clippy::vec_box,
        reason = "a connection holds the box, and that is what is reused"
    )]
    queues: Vec<Box<SendQueue>>,
}

/// Places of a ring that is kept for reuse, as much memory as a buffer that is pooled; one that grew
/// more in a burst goes back to the allocator.
const RING: usize = POOLED / size_of::<Chunk>();
/// The same where more than this many are kept already.
const RINGS: usize = 256;
const RING_OF_MANY: usize = RING / 8;
/// What is kept after a burst, of buffers and of queues; the rest goes back to the allocator. A tick
/// in which each of a thousand connections has something is no burst.
const POOL_KEEPS: usize = 2048;
const POOL_KEEPS_BYTES: usize = 8 << 20;
/// Capacity of a new buffer: room for some answers before it grows.
const FRESH: usize = 512;

impl BufferPool {
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let Some(buffer) = self.free.pop() else {
            return Vec::with_capacity(FRESH);
        };
        self.free_bytes -= buffer.capacity();
        buffer
    }

    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes <= POOLED
            && self.free.len() < POOL_KEEPS
            && self.free_bytes + bytes <= POOL_KEEPS_BYTES
        {
            buffer.clear();
            self.free_bytes += bytes;
            self.free.push(buffer);
        }
    }

    #[expect(clippy::unnecessary_box_returns, reason = "the box is what is pooled")]
    pub(crate) fn take_queue(&mut self) -> Box<SendQueue> {
        self.queues.pop().unwrap_or_default()
    }

    pub(crate) fn give_queue(&mut self, mut queue: Box<SendQueue>) {
        queue.clear(self);
        let few = self.queues.len() < RINGS;
        if queue.chunks.capacity() > if few { RING } else { RING_OF_MANY } {
            queue.chunks = VecDeque::new();
        }
        if self.queues.len() < POOL_KEEPS {
            self.queues.push(queue);
        }
    }
}

/// Chunks in order, `offset` bytes of the first already sent.
#[derive(Default)]
pub(crate) struct SendQueue {
    chunks: VecDeque<Chunk>,
    offset: usize,
    bytes: usize,
    frames: usize,
    /// Chunks that left at the front since the queue was empty.
    popped: usize,
    /// Ephemeral chunks by key, as numbers that count from before `popped`.
    newest: Option<Box<HashMap<u64, usize>>>,
}

/// What became of an ephemeral frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Newest {
    Added,
    /// It stands where an older one of its key stood.
    Replaced,
    /// There was no room.
    Refused,
}

/// What may wait in a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub bytes: usize,
    pub frames: usize,
}

impl SendQueue {
    /// Bytes not yet sent.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frames of which the last byte is not yet sent; those of one chunk count until all are.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// Lets `write` append one encoded frame to the connection's own bytes.
    pub(crate) fn append_with(&mut self, pool: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>)) {
        // One without room is closed too.
        let open = |chunk: &Chunk| matches!(&chunk.run, Run::Owned(tail) if tail.len() < CHUNK.min(tail.capacity()));
        if !self.chunks.back().is_some_and(open) {
            if self.chunks.len() > SHORT && self.bytes > self.frames * SMALL {
                return self.append_alone(pool, write);
            }
            let buffer = if self.chunks.is_empty() {
                pool.take()
            } else {
                Vec::with_capacity(CHUNK + SMALL)
            };
            let run = Run::Owned(buffer);
            self.chunks.push_back(Chunk { run, frames: 0 });
        }
        if let Some(Chunk {
            run: Run::Owned(tail),
            frames,
        }) = self.chunks.back_mut()
        {
            let before = tail.len();
            write(tail);
            self.bytes += tail.len() - before;
            *frames += 1;
            self.frames += 1;
        }
    }

    /// As [`Self::append_with`], for large frames in a queue that may stay for long: without the room
    /// that doubling makes, so that the bound on bytes bounds memory as well.
    #[cold]
    fn append_alone(&mut self, pool: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>)) {
        let mut frame = pool.take();
        write(&mut frame);
        self.bytes += frame.len();
        self.frames += 1;
        let run = Run::Owned(frame.as_slice().to_vec());
        self.chunks.push_back(Chunk { run, frames: 1 });
        pool.give(frame);
    }

    /// Appends a view of a shared buffer that holds `frames` frames.
    pub(crate) fn append_shared(&mut self, buffer: &Shared, start: usize, end: usize, frames: u32) {
        if start < end {
            self.bytes += end - start;
            self.frames += frames as usize;
            let run = Run::Shared {
                buffer: Rc::clone(buffer),
                start: start as u32,
                end: end as u32,
            };
            self.chunks.push_back(Chunk { run, frames });
        }
    }

    /// Counts `more` frames in the last chunk than were appended to it one by one.
    pub(crate) fn count_frames(&mut self, more: u32) {
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.frames += more;
            self.frames += more as usize;
        }
    }

    /// As [`Self::append_shared`] to an empty queue, of a view of which the bytes before `sent` are
    /// sent already.
    pub(crate) fn append_begun(
        &mut self,
        buffer: &Shared,
        start: usize,
        end: usize,
        sent: usize,
        frames: u32,
    ) {
        debug_assert!(self.chunks.is_empty() && (start..end).contains(&sent));
        self.append_shared(buffer, start, end, frames);
        self.offset = sent - start;
        self.bytes -= self.offset;
    }

    /// Appends an ephemeral frame, or puts it in the place of the one with its key that waits.
    /// A new key needs room within `bounds`; what is replaced may outgrow them by one frame.
    pub(crate) fn append_newest(&mut self, key: u64, frame: &[u8], bounds: Bounds) -> Newest {
        // The first chunk, once begun, must go out as it is.
        let movable = self.popped + usize::from(self.offset > 0);
        let newest = self.newest.get_or_insert_default();
        if let Some(number) = newest.get(&key).copied().filter(|at| *at >= movable)
            && let Some(Chunk {
                run: Run::Newest(bytes),
                ..
            }) = self.chunks.get_mut(number - self.popped)
        {
            self.bytes = self.bytes - bytes.len() + frame.len();
            if bytes.len() == frame.len() {
                bytes.copy_from_slice(frame);
            } else {
                *bytes = frame.into();
            }
            return Newest::Replaced;
        }
        if self.bytes + frame.len() > bounds.bytes || self.frames >= bounds.frames {
            return Newest::Refused;
        }
        // Keys of chunks that were sent are forgotten when they outnumber the chunks.
        if newest.len() > 2 * self.chunks.len() + 16 {
            newest.retain(|_, number| *number >= movable);
        }
        newest.insert(key, self.popped + self.chunks.len());
        self.bytes += frame.len();
        self.frames += 1;
        self.chunks.push_back(Chunk {
            run: Run::Newest(frame.into()),
            frames: 1,
        });
        Newest::Added
    }

    /// Throws ephemeral frames away, to make room for others. Returns how many.
    pub(crate) fn drop_newest(&mut self) -> usize {
        if self.newest.take().is_none() {
            return 0;
        }
        let before = self.frames;
        let mut begun = self.offset > 0;
        let (bytes, frames) = (&mut self.bytes, &mut self.frames);
        self.chunks.retain(|chunk| match &chunk.run {
            Run::Newest(frame) if !std::mem::take(&mut begun) => {
                *bytes -= frame.len();
                *frames -= 1;
                false
            }
            _ => {
                begun = false;
                true
            }
        });
        before - self.frames
    }

    /// Throws everything away but a chunk that is sent in part: what follows on the wire is then
    /// still a whole frame.
    pub(crate) fn keep_begun(&mut self, pool: &mut BufferPool) {
        let kept = usize::from(self.offset > 0);
        self.newest = None;
        for chunk in self.chunks.drain(kept..) {
            self.bytes -= chunk.bytes().len();
            self.frames -= chunk.frames as usize;
            if let Run::Owned(buffer) = chunk.run {
                pool.give(buffer);
            }
        }
        self.chunks.shrink_to(RING);
    }

    /// Writes as much as `to` takes, [`IOVECS`] chunks a call.
    ///
    /// # Errors
    /// What `sendmsg(2)` reports but `EAGAIN` and `EINTR`: the connection is gone.
    pub(crate) fn write_to(
        &mut self,
        to: &mut impl Outlet,
        pool: &mut BufferPool,
    ) -> Result<Progress, Errno> {
        while self.bytes > 0 {
            if let [chunk] = self.chunks.as_slices().0
                && self.chunks.len() == 1
            {
                // What most writes are: without a list of one.
                let bytes = &chunk.bytes()[self.offset..];
                let wanted = bytes.len();
                match to.send(bytes) {
                    Ok(sent) => {
                        self.consume(sent, pool);
                        if sent < wanted {
                            return Ok(Progress::Blocked);
                        }
                    }
                    Err(Errno::AGAIN) => return Ok(Progress::Blocked),
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error),
                }
                continue;
            }
            let mut slices = [IoSlice::new(&[]); IOVECS];
            let mut count = 0;
            let mut wanted = 0;
            for (chunk, slice) in self.chunks.iter().zip(slices.iter_mut()) {
                let bytes = chunk.bytes();
                let bytes = if count == 0 {
                    &bytes[self.offset..]
                } else {
                    bytes
                };
                *slice = IoSlice::new(bytes);
                wanted += bytes.len();
                count += 1;
            }
            let sent = match to.send_many(&slices[..count]) {
                Ok(sent) => sent,
                Err(Errno::AGAIN) => return Ok(Progress::Blocked),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            self.consume(sent, pool);
            if sent < wanted {
                return Ok(Progress::Blocked);
            }
        }
        Ok(Progress::Done)
    }

    /// What is sent next, as far as it stands in one place.
    pub(crate) fn front(&self) -> &[u8] {
        let first = self.chunks.front();
        first.map_or(&[], |chunk| &chunk.bytes()[self.offset..])
    }

    /// Moves the next `count` bytes, of those that are there, to the end of another queue, in which
    /// they count as no frames.
    pub(crate) fn move_to(&mut self, to: &mut Self, mut count: usize, pool: &mut BufferPool) {
        while count > 0 {
            let Some(first) = self.chunks.front() else {
                return;
            };
            let start = self.offset;
            let taken = count.min(first.bytes().len() - start);
            match &first.run {
                Run::Shared {
                    buffer, start: at, ..
                } if taken > SMALL => {
                    let at = *at as usize + start;
                    to.append_shared(buffer, at, at + taken, 0);
                }
                _ => to.append_with(pool, |out| {
                    out.extend_from_slice(&first.bytes()[start..start + taken]);
                }),
            }
            count -= taken;
            self.consume(taken, pool);
        }
    }

    /// Forgets the next `count` bytes.
    pub(crate) fn skip(&mut self, count: usize, pool: &mut BufferPool) {
        self.consume(count.min(self.bytes), pool);
    }

    fn consume(&mut self, mut sent: usize, pool: &mut BufferPool) {
        assert!(sent <= self.bytes, "the kernel took more than it was given");
        self.bytes -= sent;
        while let Some(first) = self.chunks.front() {
            let left = first.bytes().len() - self.offset;
            if sent < left {
                self.offset += sent;
                return;
            }
            sent -= left;
            self.offset = 0;
            if let Some(Chunk { run, frames }) = self.chunks.pop_front() {
                self.popped += 1;
                self.frames -= frames as usize;
                if let Run::Owned(buffer) = run {
                    pool.give(buffer);
                }
            }
        }
    }

    fn clear(&mut self, pool: &mut BufferPool) {
        self.offset = 0;
        self.bytes = 0;
        self.frames = 0;
        self.popped = 0;
        self.newest = None;
        for chunk in self.chunks.drain(..) {
            if let Run::Owned(buffer) = chunk.run {
                pool.give(buffer);
            }
        }
    }
}

#[cfg(all(test, not(feature = "simulation")))]
mod model_test;
#[cfg(all(test, not(feature = "simulation")))]
mod tests;
