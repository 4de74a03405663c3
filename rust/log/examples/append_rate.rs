//! How fast batches become durable on a real disk, beside a bare write and fdatasync of the same bytes.
//!
//! `cargo run --release -p imfast-log --example append_rate [directory [seconds per figure]]`. The two take
//! turns, round by round, so that both meet the same disk.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]
#![expect(
    clippy::cast_precision_loss,
    reason = "figures are printed with three digits"
)]

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use imfast_log::{
    BATCH_HEADER_BYTES, Batch, Completions, Log, LogError, OpenOptions, StdFs, put_command,
};

const COMMAND_BYTES: usize = 200;
const ROUNDS: u32 = 10;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("append_rate.{}", std::process::id()));
    let seconds: f64 = arguments.next().map_or(3.0, |text| text.parse().unwrap());
    fs::create_dir_all(&dir).unwrap();
    println!("batch      what                     p50 us    p99 us     max us   krows/s");
    for count in [1, 100, 1000] {
        measure(
            &dir.join(count.to_string()),
            count,
            Duration::from_secs_f64(seconds) / ROUNDS,
        );
    }
    measure_replay(&dir.join("replay"));
    fs::remove_dir_all(&dir).unwrap();
}

fn measure(dir: &Path, count: u32, round: Duration) {
    fs::create_dir_all(dir).unwrap();
    let mut payload = Vec::new();
    for _ in 0..count {
        put_command(&mut payload, &[b'x'; COMMAND_BYTES]);
    }
    let mut bytes = vec![0; BATCH_HEADER_BYTES];
    bytes.extend_from_slice(&payload);

    let raw = File::create(dir.join("raw")).unwrap();
    let mut raw_offset = 0;
    let (sender, outcomes) = mpsc::channel();
    let sender = Mutex::new(sender);
    let completions = Completions::new(move || {
        let _ = sender.lock().unwrap().send(Instant::now());
    });
    let log = Log::open(
        Arc::new(StdFs),
        &dir.join("threaded"),
        OpenOptions::new(0, 1),
    )
    .unwrap()
    .log;
    let writer = log.start(Arc::clone(&completions)).unwrap();
    let mut direct =
        Log::open(Arc::new(StdFs), &dir.join("direct"), OpenOptions::new(1, 1)).unwrap();

    let (mut raw_ns, mut thread_ns, mut direct_ns) = (Vec::new(), Vec::new(), Vec::new());
    let (mut hand_over_ns, mut drained) = (Vec::new(), Vec::new());
    let mut batch = Batch {
        first_position: 1,
        time_ms: 1,
        fold_version: 1,
        count,
        payload,
    };
    let mut direct_batch = batch.clone();
    for _ in 0..ROUNDS {
        for_time(round, &mut raw_ns, || {
            raw.write_all_at(&bytes, raw_offset).unwrap();
            raw_offset += bytes.len() as u64;
            raw.sync_data().unwrap();
        });
        for_time(round, &mut thread_ns, || {
            let began = Instant::now();
            let first_position = batch.first_position;
            writer.append(std::mem::take(&mut batch), first_position);
            outcomes.recv().unwrap();
            completions.drain(&mut drained);
            let done = drained.pop().unwrap();
            let durable = done.result.unwrap();
            let disk_ns = durable.write_ns + durable.sync_ns;
            hand_over_ns.push((began.elapsed().as_nanos() as u64).saturating_sub(disk_ns));
            let first_position = durable.position + 1;
            batch = Batch {
                first_position,
                time_ms: 1,
                fold_version: 1,
                count,
                payload: done.payload,
            };
        });
        for_time(round, &mut direct_ns, || {
            direct_batch.first_position =
                direct.log.append_now(&direct_batch).unwrap().position + 1;
        });
    }
    report(count, "raw write + fdatasync", &mut raw_ns);
    report(count, "append_now", &mut direct_ns);
    report(count, "thread, there and back", &mut thread_ns);
    report(count, "  of it not on the disk", &mut hand_over_ns);
}

fn for_time(time: Duration, into: &mut Vec<u64>, mut once: impl FnMut()) {
    let began = Instant::now();
    while began.elapsed() < time {
        let start = Instant::now();
        once();
        into.push(start.elapsed().as_nanos() as u64);
    }
}

fn report(count: u32, what: &str, ns: &mut [u64]) {
    ns.sort_unstable();
    let micros = |index: usize| ns[index.min(ns.len() - 1)] as f64 / 1e3;
    let rate = f64::from(count) * ns.len() as f64 / (ns.iter().sum::<u64>() as f64 / 1e9) / 1e3;
    let (p50, p99, max) = (
        micros(ns.len() / 2),
        micros(ns.len() * 99 / 100),
        micros(ns.len()),
    );
    println!("{count:<6} {what:<26} {p50:>9.0} {p99:>9.0} {max:>10.0} {rate:>9.1}");
}

/// Replays 512 MiB out of the cache, every batch verified and every command looked at.
fn measure_replay(dir: &Path) {
    let mut opened = Log::open(Arc::new(StdFs), dir, OpenOptions::new(0, 1)).unwrap();
    let mut payload = Vec::new();
    for _ in 0..1000 {
        put_command(&mut payload, &[b'x'; COMMAND_BYTES]);
    }
    let bytes = payload.len() as u64;
    let mut batch = Batch {
        first_position: 1,
        time_ms: 1,
        fold_version: 1,
        count: 1000,
        payload,
    };
    for _ in 0..(512 << 20) / bytes {
        batch.first_position = opened.log.append_now(&batch).unwrap().position + 1;
    }
    for _ in 0..3 {
        let began = Instant::now();
        let mut total = 0;
        opened
            .log
            .replay::<LogError>(1, &mut |view| {
                total += view.commands().map(<[u8]>::len).sum::<usize>();
                Ok(())
            })
            .unwrap();
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "replay {:.2} GB/s, {:.1} M commands/s",
            black_box(total) as f64 / seconds / 1e9,
            (batch.first_position - 1) as f64 / seconds / 1e6
        );
    }
}
