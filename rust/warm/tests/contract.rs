//! What every archive promises, on disk and in memory.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails at the line that is wrong"
)]

mod fixture;

use std::io;
use std::sync::Arc;

use fixture::{CONVERSATIONS, History, content, fill};
use imfast_partition::archive::{Archive, Chunk, Reached, StateKey, StateValue};
use imfast_warm::{FjallArchive, MemoryArchive};
use tempfile::TempDir;

/// Runs a test over both archives, each empty.
fn each_archive(test: impl Fn(&dyn Archive)) {
    test(&MemoryArchive::new());
    let dir = TempDir::new().unwrap();
    test(&FjallArchive::open(dir.path()).unwrap());
}

fn chunk(after: u64, position: u64, state: Vec<(StateKey, StateValue)>) -> Chunk {
    Chunk {
        after,
        reached: Reached {
            position,
            ..Reached::default()
        },
        state,
        ..Chunk::default()
    }
}

fn state_of(archive: &dyn Archive) -> Vec<(StateKey, Vec<u8>)> {
    let mut found = Vec::new();
    archive
        .state(&mut |key, value| found.push((key, value.to_vec())))
        .unwrap();
    found
}

#[test]
fn empty_archive_has_nothing_and_begins_at_zero() {
    each_archive(|archive| {
        assert_eq!(archive.reached(), Reached::default());
        assert_eq!(
            content(archive).unwrap(),
            content(&MemoryArchive::new()).unwrap()
        );
        assert_eq!(archive.row(0, 1).unwrap(), None);
        assert!(!archive.tidy().unwrap());
    });
}

#[test]
fn archive_on_disk_tells_the_same_as_the_one_in_memory_whatever_comes() {
    for seed in [3, 1_000_003, 77_777] {
        let dir = TempDir::new().unwrap();
        let memory = MemoryArchive::new();
        let mut history = History::new(seed);
        for round in 0..6 {
            let disk = FjallArchive::open(dir.path()).unwrap();
            fill(&disk, &mut history.clone(), 5, 300);
            fill(&memory, &mut history, 5, 300);
            while round % 2 == 0 && disk.tidy().unwrap() {}
            assert_eq!(
                content(&disk).unwrap(),
                content(&memory).unwrap(),
                "seed {seed}"
            );
        }
        let disk = FjallArchive::open(dir.path()).unwrap();
        assert_eq!(
            content(&disk).unwrap(),
            content(&memory).unwrap(),
            "seed {seed}"
        );
    }
}

#[test]
fn chunk_that_does_not_follow_is_refused_and_changes_nothing() {
    each_archive(|archive| {
        let mut history = History::new(5);
        fill(archive, &mut history, 2, 50);
        let before = content(archive).unwrap();
        let reached = archive.reached().position;
        let mut outside = history.clone().chunk(20);
        outside.reached.position -= 10;
        let own_tag = vec![(StateKey::new(0, 0, 0, 0), StateValue::Number(1))];
        for wrong in [
            chunk(reached - 1, reached + 5, Vec::new()),
            chunk(reached + 1, reached + 5, Vec::new()),
            chunk(reached, reached - 1, Vec::new()),
            chunk(reached, reached + 1, own_tag),
            outside,
        ] {
            let error = archive.apply(&wrong.settle()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(content(archive).unwrap(), before);
        fill(archive, &mut history, 1, 50);
    });
}

#[test]
fn rows_come_in_both_directions_within_bounds_until_the_reader_has_enough() {
    each_archive(|archive| {
        let mut history = History::new(9);
        fill(archive, &mut history, 4, 400);
        let mut all = Vec::new();
        archive
            .rows(2, 0..u64::MAX, &mut |row| {
                all.push(row);
                true
            })
            .unwrap();
        assert!(all.len() > 20);
        assert!(all.iter().all(|row| row.conversation == 2));
        let seqs: Vec<u64> = all.iter().map(|row| row.seq).collect();
        assert_eq!(seqs, (1..=all.len() as u64).collect::<Vec<_>>());
        let page = |range: std::ops::Range<u64>, enough: usize, back: bool| {
            let mut seqs = Vec::new();
            let each = &mut |row: imfast_partition::archive::ArchivedRow| {
                seqs.push(row.seq);
                seqs.len() < enough
            };
            if back {
                archive.rows_back(2, range, each).unwrap();
            } else {
                archive.rows(2, range, each).unwrap();
            }
            seqs
        };
        assert_eq!(page(3..7, 100, false), [3, 4, 5, 6]);
        assert_eq!(page(3..7, 100, true), [6, 5, 4, 3]);
        assert_eq!(page(3..7, 2, false), [3, 4]);
        assert_eq!(page(3..7, 2, true), [6, 5]);
        assert!(page(7..7, 9, false).is_empty());
        #[expect(clippy::reversed_empty_ranges, reason = "what a caller may compute")]
        let backwards = 7..3;
        assert!(page(backwards.clone(), 9, true).is_empty());
        let head = all.len() as u64;
        assert_eq!(page(head..u64::MAX, 9, true), [head]);
        for row in &all {
            assert_eq!(archive.row(2, row.seq).unwrap().as_ref(), Some(row));
        }
        assert_eq!(archive.row(2, head + 1).unwrap(), None);
        assert_eq!(archive.row(2, 0).unwrap(), None);
        assert_eq!(archive.row(CONVERSATIONS, 1).unwrap(), None);
    });
}

#[test]
fn places_lead_to_the_rows_of_a_range_of_positions() {
    each_archive(|archive| {
        fill(archive, &mut History::new(21), 4, 200);
        let last = archive.reached().position;
        let mut found = Vec::new();
        archive
            .places(10..60, &mut |position, conversation, seq| {
                found.push((position, conversation, seq));
                true
            })
            .unwrap();
        assert!(found.len() > 30 && found.is_sorted());
        for (position, conversation, seq) in &found {
            assert!((10..60).contains(position));
            let row = archive.row(*conversation, *seq).unwrap().unwrap();
            assert_eq!(row.position, *position);
        }
        let mut count = 0;
        let mut enough = |_, _, _| {
            count += 1;
            count < 3
        };
        archive.places(1..u64::MAX, &mut enough).unwrap();
        assert_eq!(count, 3);
        for none in [5..5, last + 1..u64::MAX] {
            archive
                .places(none, &mut |_, _, _| panic!("nothing is there"))
                .unwrap();
        }
    });
}

#[test]
fn state_keeps_the_last_value_of_a_key_until_it_is_removed() {
    each_archive(|archive| {
        let [a, b, c] = [1, 2, u8::MAX].map(|tag| StateKey::new(tag, u32::MAX, 1, u32::MAX));
        let bytes = |text: &str| StateValue::Bytes(text.as_bytes().into());
        let first = vec![
            (c, bytes("c")),
            (a, bytes("first")),
            (b, StateValue::Number(0x0102)),
            (a, bytes("")),
        ];
        archive.apply(&chunk(0, 1, first).settle()).unwrap();
        let b_value = vec![2, 1, 0, 0, 0, 0, 0, 0];
        let expected = [(a, vec![]), (b, b_value), (c, b"c".to_vec())];
        assert_eq!(state_of(archive), expected);
        let second = vec![(b, StateValue::Removed), (c, bytes("new"))];
        archive.apply(&chunk(1, 2, second).settle()).unwrap();
        assert_eq!(state_of(archive), [(a, vec![]), (c, b"new".to_vec())]);
        let third = vec![(b, bytes("again")), (a, StateValue::Removed)];
        archive.apply(&chunk(2, 3, third).settle()).unwrap();
        assert_eq!(
            state_of(archive),
            [(b, b"again".to_vec()), (c, b"new".to_vec())]
        );
    });
}

#[test]
fn keys_are_told_from_the_oldest_remembered_one_on() {
    each_archive(|archive| {
        let mut history = History::new(33);
        history.window = 120;
        for _ in 0..12 {
            archive.apply(&history.chunk(50).settle()).unwrap();
            let reached = archive.reached();
            let keys = archive.keys().unwrap();
            assert!(keys.is_sorted_by_key(|key| key.position));
            assert!(keys.iter().all(|key| key.position >= reached.keys_from));
            let expected = reached.position.min(120) * 6 / 10;
            assert!(
                keys.len() as u64 > expected,
                "{} at {reached:?}",
                keys.len()
            );
        }
        let mut last = history.chunk(10);
        last.keys.clear();
        last.reached.keys_from = last.reached.position + 1;
        archive.apply(&last.settle()).unwrap();
        assert_eq!(archive.keys().unwrap(), []);
    });
}

#[test]
fn chunk_without_changes_moves_the_position() {
    each_archive(|archive| {
        archive.apply(&chunk(0, 40, Vec::new()).settle()).unwrap();
        archive.apply(&chunk(40, 40, Vec::new()).settle()).unwrap();
        assert_eq!(archive.reached().position, 40);
    });
}

#[test]
fn reader_beside_the_writer_sees_whole_chunks_only() {
    each_archive(|archive| {
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while seen < 3000 {
                    let before = archive.reached().position;
                    let mut positions = Vec::new();
                    archive
                        .rows(1, 0..u64::MAX, &mut |row| {
                            positions.push(row.position);
                            true
                        })
                        .unwrap();
                    let after = archive.reached().position;
                    let mut back = Vec::new();
                    archive
                        .rows_back(1, 0..u64::MAX, &mut |row| {
                            back.push(row.position);
                            true
                        })
                        .unwrap();
                    back.reverse();
                    assert!(positions.is_sorted());
                    assert!(back.starts_with(&positions));
                    assert!(positions.last().is_none_or(|last| *last <= after));
                    seen = before;
                }
            });
            let mut history = History::new(13);
            while archive.reached().position < 3000 {
                archive.apply(&history.chunk(100).settle()).unwrap();
                archive.tidy().unwrap();
            }
            reader.join().unwrap();
        });
    });
}

#[test]
fn handle_of_the_archive_in_memory_survives_the_one_it_was_made_from() {
    let first = MemoryArchive::new();
    let survivor = first.clone();
    let archive: Arc<dyn Archive> = Arc::new(first);
    fill(archive.as_ref(), &mut History::new(1), 3, 30);
    let before = content(archive.as_ref()).unwrap();
    drop(archive);
    assert_eq!(content(&survivor).unwrap(), before);
}
