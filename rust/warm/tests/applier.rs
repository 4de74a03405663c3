//! The thread that applies, over archives that work and ones that fail.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails at the line that is wrong"
)]

mod fixture;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use fixture::{History, content, fill};
use imfast_partition::archive::{Archive, Reached};
use imfast_warm::{Applier, FjallArchive, MemoryArchive};

const PATIENCE: Duration = Duration::from_secs(20);

fn start(archive: Arc<dyn Archive>) -> (Applier, Receiver<()>) {
    let (wake, woken) = channel();
    let applier = Applier::start(3, archive, move || {
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
