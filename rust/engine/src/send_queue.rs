//! What a connection still has to be sent: a ring of chunks, either its own bytes or a view of
//! a buffer that a whole fan-out shares.
//!
//! Small frames for one connection are appended to one owned chunk, so that a burst of replies
//! is one `iovec`; a run of frames to a group is one shared chunk, whatever their number.

use crate::system::{Socket, socket};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

/// `iovec`s of one `sendmsg`. More than this is sent by a second call.
const IOVECS: usize = 64;
/// An owned chunk is closed at this size, so that no reallocation copies much.
const CHUNK: usize = 16 * 1024;
/// Buffers up to this size go back to the pool.
const POOLED: usize = 32 * 1024;

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
    #[expect(
        clippy::vec_box,
        reason = "a connection holds the box, and that is what is reused"
    )]
    queues: Vec<Box<SendQueue>>,
}

/// Buffers kept after a burst; the rest goes back to the allocator.
const POOL_KEEPS: usize = 256;

impl BufferPool {
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= POOLED && self.free.len() < POOL_KEEPS {
            buffer.clear();
            self.free.push(buffer);
        }
    }

    #[expect(clippy::unnecessary_box_returns, reason = "the box is what is pooled")]
    pub(crate) fn take_queue(&mut self) -> Box<SendQueue> {
        self.queues.pop().unwrap_or_default()
    }

    pub(crate) fn give_queue(&mut self, mut queue: Box<SendQueue>) {
        queue.clear(self);
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
        let open = |chunk: &Chunk| matches!(&chunk.run, Run::Owned(tail) if tail.len() < CHUNK);
        if !self.chunks.back().is_some_and(open) {
            let run = Run::Owned(pool.take());
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

    /// Writes as much as the socket takes, [`IOVECS`] chunks a call.
    ///
    /// # Errors
    /// What `sendmsg(2)` reports but `EAGAIN` and `EINTR`: the connection is gone.
    pub(crate) fn write_to(
        &mut self,
        to: &Socket,
        pool: &mut BufferPool,
    ) -> Result<Progress, Errno> {
        while self.bytes > 0 {
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
            let sent = match socket::send_many(to, &slices[..count]) {
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
        for chunk in self.chunks.drain(..) {
            if let Run::Owned(buffer) = chunk.run {
                pool.give(buffer);
            }
        }
    }
}

#[cfg(all(test, not(feature = "simulation")))]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (rustix::fd::OwnedFd, rustix::fd::OwnedFd) {
        socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::NONBLOCK,
            None,
        )
        .expect("socketpair")
    }

    fn read_all(fd: &rustix::fd::OwnedFd) -> Vec<u8> {
        let mut out = Vec::new();
        let mut buffer = [0; 8192];
        while let Ok(n) = rustix::io::read(fd, &mut buffer) {
            if n == 0 {
                break;
            }
            out.extend_from_slice(&buffer[..n]);
        }
        out
    }

    #[test]
    fn own_and_shared_chunks_arrive_in_order() {
        let (near, far) = pair();
        let mut pool = BufferPool::default();
        let mut queue = SendQueue::default();
        let shared = Rc::new(b"0123456789".to_vec());
        queue.append_with(&mut pool, |b| b.extend_from_slice(b"one "));
        queue.append_with(&mut pool, |b| b.extend_from_slice(b"two "));
        queue.append_shared(&shared, 2, 5, 1);
        queue.append_shared(&shared, 5, 5, 1);
        queue.append_with(&mut pool, |b| b.extend_from_slice(b" three"));
        assert_eq!((queue.bytes(), queue.frames()), (17, 4));
        assert_eq!(queue.write_to(&near, &mut pool), Ok(Progress::Done));
        assert_eq!(read_all(&far), b"one two 234 three");
        assert_eq!((queue.bytes(), queue.frames()), (0, 0));
    }

    #[test]
    fn a_full_socket_blocks_and_the_rest_follows() {
        let (near, far) = pair();
        let mut pool = BufferPool::default();
        let mut queue = SendQueue::default();
        let shared = Rc::new((0..100_000u32).map(|n| n as u8).collect::<Vec<_>>());
        let mut expected = Vec::new();
        for n in 0..100u8 {
            queue.append_with(&mut pool, |b| b.extend_from_slice(&[n; 3]));
            queue.append_shared(&shared, 0, shared.len(), 1);
            expected.extend_from_slice(&[n; 3]);
            expected.extend_from_slice(&shared);
        }
        let mut received = Vec::new();
        let mut blocked = 0;
        loop {
            let progress = queue.write_to(&near, &mut pool).expect("peer is there");
            received.extend(read_all(&far));
            if progress == Progress::Done {
                break;
            }
            blocked += 1;
        }
        assert!(blocked > 0, "10 MB do not fit a socket buffer");
        assert_eq!(received, expected);
        assert_eq!(Rc::strong_count(&shared), 1);
    }

    #[test]
    fn a_gone_peer_is_an_error_and_no_signal() {
        let (near, far) = pair();
        drop(far);
        let mut queue = SendQueue::default();
        let mut pool = BufferPool::default();
        queue.append_with(&mut pool, |b| b.push(1));
        assert_eq!(queue.write_to(&near, &mut pool), Err(Errno::PIPE));
    }
}
