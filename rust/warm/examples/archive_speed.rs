//! What an archive on disk costs: applying chunks, opening, pages of history.
//!
//! ```text
//! cargo run --release -p imfast-warm --example archive_speed -- DIR [ROWS [CONVERSATIONS]]
//! ```
//!
//! Fills an archive in DIR (made, and left there) by chunks of 65,536 rows of 200 bytes, spread
//! evenly over the conversations, with a key each; the heads of the conversations come with them. Pages
//! are the last 50 rows of a random conversation, read while nothing is applied; keys are asked for that
//! left the sequencer's memory, and ones that were never used.

#![expect(
    clippy::cast_precision_loss,
    reason = "figures for people have few digits"
)]

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use imfast_partition::RowKind;
use imfast_partition::archive::{
    Archive, ArchivedKey, ArchivedRow, Chunk, KeyFound, Reached, Settled,
};
use imfast_warm::FjallArchive;

const CHUNK_ROWS: u64 = 65_536;
const ROW_BYTES: usize = 200;
const PAGES: usize = 4000;
const PAGE_ROWS: u64 = 50;
/// One key in so many is asked for later.
const SAMPLED: u64 = 500;
/// Keys are remembered for so many positions.
const KEY_WINDOW: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("a directory is missing")?);
    let rows: u64 = arguments.next().map_or(Ok(3_000_000), |n| n.parse())?;
    let conversations: u64 = arguments.next().map_or(Ok(100_000), |n| n.parse())?;

    let archive = FjallArchive::open(&dir)?;
    let mut load = Load::new(conversations);
    let filled = load.fill(&archive, rows)?;
    filled.print();
    let state = disk_bytes(&dir)?;
    println!(
        "disk: {} MB, {:.0} B a row",
        state >> 20,
        state as f64 / rows as f64
    );
    println!("memory: {}", memory()?);
    load.pages(&archive)?;
    let started = Instant::now();
    while archive.tidy()? {}
    println!(
        "tidying the rest: {:.0} ms",
        milliseconds(started.elapsed())
    );
    load.pages(&archive)?;
    drop(archive);

    let started = Instant::now();
    let archive = FjallArchive::open(&dir)?;
    println!("open: {:.1} ms", milliseconds(started.elapsed()));
    let started = Instant::now();
    let mut pieces = 0;
    archive.state(&mut |_, _| pieces += 1)?;
    println!(
        "{pieces} pieces of state: {:.0} ms",
        milliseconds(started.elapsed())
    );
    let started = Instant::now();
    let keys = archive.keys()?.len();
    println!("{keys} keys: {:.0} ms", milliseconds(started.elapsed()));
    load.pages(&archive)?;
    load.keys(&archive)?;
    Ok(())
}

/// Makes the same rows every time.
struct Load {
    random: u64,
    position: u64,
    seqs: Vec<u64>,
    /// Some keys with their positions.
    used: Vec<((u64, u64), u64)>,
}

#[derive(Default)]
struct Filled {
    rows: u64,
    applied: Vec<Duration>,
    tidied: Vec<Duration>,
    wall: Duration,
    cpu: [Duration; 2],
}

impl Load {
    fn new(conversations: u64) -> Self {
        Self {
            random: 88_172_645_463_325_252,
            position: 0,
            seqs: vec![0; conversations as usize],
            used: Vec::new(),
        }
    }

    fn random(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % self.seqs.len() as u64) as usize
    }

    fn chunk(&mut self, rows: u64) -> Settled {
        let mut chunk = Chunk {
            after: self.position,
            ..Chunk::default()
        };
        for _ in 0..rows {
            self.position += 1;
            let index = self.random();
            let mut bytes = [b'a'; ROW_BYTES];
            for (at, byte) in self
                .random
                .to_le_bytes()
                .into_iter()
                .cycle()
                .take(64)
                .enumerate()
            {
                bytes[at] = byte.wrapping_add(at as u8);
            }
            self.seqs[index] += 1;
            let (conversation, seq) = (index as u32, self.seqs[index]);
            chunk.rows.push(ArchivedRow {
                conversation,
                seq,
                position: self.position,
                ordinal: seq as u32,
                kind: RowKind::Message,
                bytes: Arc::from(&bytes[..]),
            });
            if self.position.is_multiple_of(SAMPLED) {
                let key = (self.random, !self.random);
                self.used.push((key, self.position));
            }
            chunk.keys.push(ArchivedKey {
                key_high: self.random,
                key_low: !self.random,
                position: self.position,
                ..ArchivedKey::default()
            });
        }
        chunk.reached = Reached {
            position: self.position,
            keys_from: self.position.saturating_sub(KEY_WINDOW),
            ..Reached::default()
        };
        chunk.settle()
    }

    fn fill(&mut self, archive: &FjallArchive, rows: u64) -> io::Result<Filled> {
        let mut filled = Filled {
            rows,
            ..Filled::default()
        };
        while self.position < rows {
            let chunk = self.chunk(CHUNK_ROWS.min(rows - self.position));
            let before = process_cpu();
            let started = Instant::now();
            archive.apply(&chunk)?;
            let applied = started.elapsed();
            let between = process_cpu();
            let mut both = applied;
            while archive.tidy()? {
                let now = started.elapsed();
                filled.tidied.push(now.saturating_sub(both));
                both = now;
            }
            filled.cpu[0] += between.saturating_sub(before);
            filled.cpu[1] += process_cpu().saturating_sub(between);
            filled.applied.push(applied);
            filled.wall += both;
        }
        Ok(filled)
    }

    fn keys(&mut self, archive: &FjallArchive) -> io::Result<()> {
        let before = self.position.saturating_sub(KEY_WINDOW);
        let old = self.used.iter().filter(|(_, position)| *position < before);
        let old: Vec<_> = old.copied().collect();
        for (name, changed) in [("old key", 0), ("key that was never used", 1)] {
            let mut times = Vec::with_capacity(old.len());
            for &((high, low), position) in &old {
                let started = Instant::now();
                let found = archive.find_key((high, low ^ changed), 0, before)?;
                times.push(started.elapsed());
                let known = matches!(found, KeyFound::First(key) if key.position == position);
                assert_eq!(known, changed == 0, "a key is found or it is not");
            }
            if times.is_empty() {
                continue;
            }
            let (p50, p99, _) = spread(&mut times);
            let [p50, p99] = [p50, p99].map(|time| time.as_secs_f64() * 1e6);
            println!(
                "{name}, {} of them: p50 {p50:.2} µs, p99 {p99:.2} µs",
                old.len()
            );
        }
        Ok(())
    }

    fn pages(&mut self, archive: &FjallArchive) -> io::Result<()> {
        let mut times = Vec::with_capacity(PAGES);
        let cpu = process_cpu();
        for _ in 0..PAGES {
            let index = self.random();
            let end = self.seqs[index] + 1;
            let started = Instant::now();
            let mut rows = 0;
            archive.rows_back(
                index as u32,
                end.saturating_sub(PAGE_ROWS)..end,
                &mut |_| {
                    rows += 1;
                    true
                },
            )?;
            times.push(started.elapsed());
            assert_eq!(rows, self.seqs[index].min(PAGE_ROWS), "a page is whole");
        }
        let cpu = process_cpu().saturating_sub(cpu) / PAGES as u32;
        let (p50, p99, _) = spread(&mut times);
        let [p50, p99, cpu] = [p50, p99, cpu].map(|time| time.as_secs_f64() * 1e6);
        println!("page of {PAGE_ROWS}: p50 {p50:.1} µs, p99 {p99:.1} µs, CPU {cpu:.1} µs");
        Ok(())
    }
}

impl Filled {
    fn print(mut self) {
        let [apply, tidy] = self
            .cpu
            .map(|cpu| cpu.as_secs_f64() * 1e6 / self.rows as f64);
        println!(
            "{} rows: {:.0} k rows/s; CPU a row: apply {apply:.2} µs, tidy {tidy:.2} µs",
            self.rows,
            self.rows as f64 / self.wall.as_secs_f64() / 1e3,
        );
        let steps = [
            ("apply a chunk", &mut self.applied),
            ("a step of tidying", &mut self.tidied),
        ];
        for (name, times) in steps {
            let (p50, p99, worst) = spread(times);
            println!(
                "{name}: p50 {:.0} ms, p99 {:.0} ms, worst {:.0} ms",
                milliseconds(p50),
                milliseconds(p99),
                milliseconds(worst)
            );
        }
    }
}

/// p50, p99 and the highest.
fn spread(times: &mut [Duration]) -> (Duration, Duration, Duration) {
    times.sort_unstable();
    let at = |part: usize| {
        times
            .get(times.len() * part / 100)
            .or(times.last())
            .copied()
    };
    let [p50, p99, worst] = [50, 99, 100].map(|part| at(part).unwrap_or_default());
    (p50, p99, worst)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// CPU time of all threads of this process so far.
fn process_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let ns = stat.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or_default())
}

fn memory() -> io::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let lines = status
        .lines()
        .filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS"));
    Ok(lines
        .collect::<Vec<_>>()
        .join(", ")
        .replace(['\t', ' '], ""))
}

fn disk_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(bytes)
}
