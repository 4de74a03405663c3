//! A fan-out: a message encoded for its group, and one slice of giving a run of sixteen to
//! sockets. The system calls' own work is the kernel's and not counted.

use super::server_frames::row;
use crate::callgrind::counted;
use imfast_engine::micro::FanOut;

const SUBSCRIBERS: usize = 256;
const FRAMES: usize = 16;
const RUNS: usize = 4;

pub(crate) fn run() {
    let row = row();
    let mut group = FanOut::new(SUBSCRIBERS).expect("sockets for 256 connections");
    append(&mut group, &row);
    group.slice();
    counted("fan_out_append_message", FRAMES, || {
        append(&mut group, &row);
    });
    group.slice();
    for _ in 0..2 {
        append(&mut group, &row);
        group.slice();
    }
    append(&mut group, &row);
    let mut given = 0;
    counted("fan_out_slice_socket", SUBSCRIBERS, || {
        given = group.slice();
    });
    assert_eq!(given, SUBSCRIBERS * FRAMES);
    counted("fan_out_delivered_frame", SUBSCRIBERS * FRAMES, || {
        append(&mut group, &row);
        group.slice();
    });
    assert!(group.deliveries() == (RUNS + 2) * SUBSCRIBERS * FRAMES);
}

fn append(group: &mut FanOut, row: &[u8]) {
    for _ in 0..FRAMES {
        group.append(row);
    }
}
