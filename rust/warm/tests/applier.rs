//! The thread that applies, over archives that work and ones that fail.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails at the line that is wrong"
)]

mod fixture;

use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fixture::{History, content, fill};
use imfast_partition::archive::{
    Archive, ArchivedKey, ArchivedRow, KeyFound, Reached, Settled, StateKey,
};
use imfast_warm::{Applier, FjallArchive, MemoryArchive};

const PATIENCE: Duration = Duration::from_secs(20);

fn start(archive: Arc<dyn Archive>) -> (Applier, Receiver<()>) {
    let (wake, woken) = channel();
    let applier = Applier::start(3, archive, (), move || {
        let _ = wake.send(());
    });
    (applier.unwrap(), woken)
}

fn outcomes(applier: &Applier, woken: &Receiver<()>, count: usize) -> Vec<io::Result<Reached>> {
    let mut found = Vec::new();
    while found.len() < count {
        woken.recv_timeout(PATIENCE).unwrap();
        found.append(&mut applier.take_finished());
    }
    found
}

/// An archive in memory whose next attempts go wrong, the last of the list first.
#[derive(Debug, Default)]
struct Failing {
    inner: MemoryArchive,
    next: Mutex<Vec<Attempt>>,
}

#[derive(Debug, Clone, Copy)]
enum Attempt {
    Fails(io::ErrorKind),
    Panics,
}

impl Failing {
    fn new(next: &[Attempt]) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryArchive::new(),
            next: Mutex::new(next.to_vec()),
        })
    }
}

impl Archive for Failing {
    fn reached(&self) -> Reached {
        self.inner.reached()
    }

    fn apply(&self, chunk: &Settled) -> io::Result<()> {
        let attempt = self.next.lock().unwrap().pop();
        match attempt {
            Some(Attempt::Fails(kind)) => Err(kind.into()),
            Some(Attempt::Panics) => panic!("as the test asked"),
            None => self.inner.apply(chunk),
        }
    }

    fn row(&self, conversation: u32, seq: u64) -> io::Result<Option<ArchivedRow>> {
        self.inner.row(conversation, seq)
    }

    fn rows(
        &self,
        conversation: u32,
        seqs: Range<u64>,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()> {
        self.inner.rows(conversation, seqs, each)
    }

    fn rows_back(
        &self,
        conversation: u32,
        seqs: Range<u64>,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()> {
        self.inner.rows_back(conversation, seqs, each)
    }

    fn places(
        &self,
        positions: Range<u64>,
        each: &mut dyn FnMut(u64, u32, u64) -> bool,
    ) -> io::Result<()> {
        self.inner.places(positions, each)
    }

    fn piece(&self, key: StateKey) -> io::Result<Option<Box<[u8]>>> {
        self.inner.piece(key)
    }

    fn state(&self, each: &mut dyn FnMut(StateKey, &[u8])) -> io::Result<()> {
        self.inner.state(each)
    }

    fn keys(&self) -> io::Result<Vec<ArchivedKey>> {
        self.inner.keys()
    }

    fn find_key(&self, key: (u64, u64), made_ms: u64, before: u64) -> io::Result<KeyFound> {
        self.inner.find_key(key, made_ms, before)
    }

    fn old_keys_made_ms(&self, before: u64) -> Option<u64> {
        self.inner.old_keys_made_ms(before)
    }

    fn keys_forgotten_ms(&self) -> u64 {
        self.inner.keys_forgotten_ms()
    }
}

fn kinds(outcomes: Vec<io::Result<Reached>>) -> Vec<Result<u64, io::ErrorKind>> {
    let kind = |outcome: io::Result<Reached>| match outcome {
        Ok(reached) => Ok(reached.position),
        Err(error) => Err(error.kind()),
    };
    outcomes.into_iter().map(kind).collect()
}

#[test]
fn chunk_that_fails_is_tried_again_and_each_kind_of_error_told_once() {
    let full = Attempt::Fails(io::ErrorKind::StorageFull);
    let archive = Failing::new(&[full, full]);
    let (applier, woken) = start(archive.clone());
    let mut history = History::new(8);
    applier.submit(history.chunk(30));
    applier.submit(history.chunk(30));
    let found = kinds(outcomes(&applier, &woken, 3));
    assert_eq!(found, [Err(io::ErrorKind::StorageFull), Ok(30), Ok(60)]);
    assert_eq!(archive.reached().position, 60);
}

#[test]
fn panic_of_an_archive_is_an_outcome_and_the_chunk_is_tried_again() {
    let (applier, woken) = start(Failing::new(&[Attempt::Panics]));
    applier.submit(History::new(8).chunk(30));
    let found = kinds(outcomes(&applier, &woken, 2));
    assert_eq!(found, [Err(io::ErrorKind::Other), Ok(30)]);
}

#[test]
fn applier_that_waits_to_try_again_ends_at_once() {
    let failing = [Attempt::Fails(io::ErrorKind::StorageFull); 40];
    let (applier, woken) = start(Failing::new(&failing));
    applier.submit(History::new(8).chunk(30));
    assert!(outcomes(&applier, &woken, 1).remove(0).is_err());
    let started = Instant::now();
    drop(applier);
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn chunks_are_applied_in_their_order_and_told_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let archive: Arc<dyn Archive> = Arc::new(FjallArchive::open(dir.path()).unwrap());
    let (applier, woken) = start(Arc::clone(&archive));
    let mut history = History::new(17);
    for _ in 0..10 {
        applier.submit(history.chunk(80));
    }
    let found = outcomes(&applier, &woken, 10);
    let positions: Vec<u64> = found.into_iter().map(|r| r.unwrap().position).collect();
    assert_eq!(positions, (1..=10).map(|n| n * 80).collect::<Vec<_>>());
    assert_eq!(applier.pending(), 0);
    drop(applier);
    let memory = MemoryArchive::new();
    let mut again = History::new(17);
    for _ in 0..10 {
        memory.apply(&again.chunk(80).settle()).unwrap();
    }
    assert_eq!(
        content(archive.as_ref()).unwrap(),
        content(&memory).unwrap()
    );
}

#[test]
fn chunk_out_of_order_stays_pending_and_is_told_once() {
    let archive = MemoryArchive::new();
    fill(&archive, &mut History::new(1), 1, 10);
    let (applier, woken) = start(Arc::new(archive.clone()));
    applier.submit(History::new(2).chunk(5));
    let error = outcomes(&applier, &woken, 1).remove(0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(applier.pending(), 1);
}
