//! Several processes on a table that is too small for them; one is killed in the middle of its work.
//!
//! The workers are this test binary, started again with `WORKER` in the environment.
#![cfg(not(miri))]

use std::env;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::parent_id;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use imfast_routes::{RouteTable, RouteWriter};

const WORKER: &str = "IMFAST_TEST_ROUTES_WORKER";
const TABLE: &str = "IMFAST_TEST_ROUTES_TABLE";
const BUCKETS: u64 = 2;
const KEYS: u64 = 24;
const WORKERS: usize = 3;
/// The supervisor's heartbeat word: 1 tells the workers to clear up and leave.
const STOP: usize = 61;

/// Entry of a worker process; without `WORKER` there is nothing to test here.
#[test]
fn worker_process() {
    let Ok(worker) = env::var(WORKER) else { return };
    let worker: usize = worker.parse().expect("a number");
    let path = env::var(TABLE).expect("set with WORKER");
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("the parent's memfd");
    let table = Arc::new(RouteTable::map(file.as_fd()).expect("a table"));
    let mut writer = RouteWriter::new(Arc::clone(&table), worker);
    let parent = parent_id();
    let mut mine = [false; KEYS as usize];
    let mut chance = worker as u64 + 1;
    for round in 1.. {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let index = (chance >> 33) % KEYS;
        let key = index << 58 | index; // spread over both buckets
        if mine[index as usize] {
            assert!(table.workers(key).contains(worker), "a route was lost");
            writer.clear(key);
        } else {
            writer.set(key);
            assert!(table.workers(key).contains(worker), "a route was not set");
        }
        mine[index as usize] ^= true;
        table.beat(worker, round);
        if table.heartbeat(STOP) == 1 {
            break;
        }
        if round % 1_024 == 0 && parent_id() != parent {
            return; // the test failed: leave nobody behind
        }
    }
    for index in 0..KEYS {
        writer.clear(index << 58 | index);
    }
}

fn start(worker: usize, table: &str) -> Child {
    Command::new(env::current_exe().expect("the test binary"))
        .args(["--exact", "worker_process", "--nocapture"])
        .env(WORKER, worker.to_string())
        .env(TABLE, table)
        .stdout(Stdio::null())
        .spawn()
        .expect("starts")
}

/// Waits until the worker has done `rounds` more rounds.
fn await_rounds(table: &RouteTable, worker: usize, rounds: u64) {
    let goal = table.heartbeat(worker) + rounds;
    let deadline = Instant::now() + Duration::from_secs(20);
    while table.heartbeat(worker) < goal {
        assert!(Instant::now() < deadline, "worker {worker} does not move");
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn killed_worker_leaves_no_bit_after_its_column_is_cleared_and_others_lose_none() {
    if env::var_os(WORKER).is_some() {
        return;
    }
    let fd = RouteTable::create("routes-crash", BUCKETS).expect("memfd");
    let table = RouteTable::map(fd.as_fd()).expect("a table");
    let path = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
    let mut workers: Vec<_> = (0..WORKERS).map(|worker| start(worker, &path)).collect();

    for kill in 0..30 {
        let victim = kill % WORKERS;
        table.beat(victim, 0);
        await_rounds(&table, victim, 50 + kill as u64 * 7);
        workers[victim].kill().expect("running");
        workers[victim].wait().expect("reaped");
        table.clear_worker(victim);
        for index in 0..KEYS {
            assert!(!table.workers(index << 58 | index).contains(victim));
        }
        workers[victim] = start(victim, &path);
    }

    for worker in 0..WORKERS {
        await_rounds(&table, worker, 1);
    }
    table.beat(STOP, 1);
    for mut worker in workers {
        assert!(
            worker.wait().expect("reaped").success(),
            "a worker lost a route"
        );
    }
    let stats = table.stats();
    assert_eq!((stats.entries, stats.locked, stats.overflowing), (0, 0, 0));
}
