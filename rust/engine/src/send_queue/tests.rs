//! The send queue over a real socket.

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
    assert_eq!(queue.write_to(&mut &near, &mut pool), Ok(Progress::Done));
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
        let progress = queue
            .write_to(&mut &near, &mut pool)
            .expect("peer is there");
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
fn a_long_queue_takes_little_more_memory_than_its_bytes() {
    let mut pool = BufferPool::default();
    let mut queue = SendQueue::default();
    for length in [130usize, 5_000, 8_250, 12_000, 16_000] {
        for _ in 0..400 {
            // As an encoder does it: a head, a body, an end.
            queue.append_with(&mut pool, |out| {
                out.extend_from_slice(&[1; 40]);
                out.resize(out.len() + length, 2);
                out.extend_from_slice(&[3; 10]);
            });
        }
        let capacity: usize = (queue.chunks.iter())
            .map(|chunk| match &chunk.run {
                Run::Owned(bytes) => bytes.capacity(),
                _ => 0,
            })
            .sum();
        let bound = queue.bytes() + queue.bytes() / 100 + 4 * CHUNK;
        assert!(capacity <= bound, "{capacity} of {} bytes", queue.bytes());
        queue.clear(&mut pool);
    }
}

#[test]
fn a_gone_peer_is_an_error_and_no_signal() {
    let (near, far) = pair();
    drop(far);
    let mut queue = SendQueue::default();
    let mut pool = BufferPool::default();
    queue.append_with(&mut pool, |b| b.push(1));
    assert_eq!(queue.write_to(&mut &near, &mut pool), Err(Errno::PIPE));
}
