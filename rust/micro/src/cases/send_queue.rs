//! A connection's send queue: a burst of small answers, and views of a shared run.

use super::OPERATIONS;
use crate::callgrind::counted;
use imfast_engine::micro::{Queue, Run};
use std::hint::black_box;

const FRAME: [u8; 130] = [b'x'; 130];

pub(crate) fn run() {
    let mut queue = Queue::default();
    let shared = Queue::shared(FRAME.repeat(16));
    // Whether growing moves the ring depends on what lies behind it on the heap.
    for _ in 0..2 {
        append(&mut queue);
        append_shared(&mut queue, &shared);
        queue.clear();
    }
    counted("send_queue_append_130", OPERATIONS, || append(&mut queue));
    queue.clear();
    counted("send_queue_append_shared_16", OPERATIONS, || {
        append_shared(&mut queue, &shared);
    });
}

fn append(queue: &mut Queue) {
    for _ in 0..OPERATIONS {
        queue.append(black_box(&FRAME));
    }
}

fn append_shared(queue: &mut Queue, run: &Run) {
    for _ in 0..OPERATIONS {
        queue.append_shared(black_box(run), 16);
    }
}
