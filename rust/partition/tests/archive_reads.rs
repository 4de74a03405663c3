//! What queries read of an archive, and what they say of one that is broken.

mod support;

use std::sync::Arc;

use imfast_partition::archive::StateKey;
use imfast_partition::{
    CatchUpFrom, Limits, Partition, PartitionConfig, QueryError, RestoreError, Window,
};
use support::archive::TestArchive;
use support::commands::{ack, create, direct, group, read, send, tell};
use support::tiered::Tiered;
use support::{config, text_of, who};

fn settings() -> PartitionConfig {
    config(Limits::default())
}

/// Alice told bob 1, 2 … `rows`, all archived and none in memory.
fn archived(rows: usize) -> Tiered {
    let mut tiered = Tiered::open(settings(), Arc::new(TestArchive::default()), &[]);
    let commands: Vec<_> = (1..=rows)
        .map(|n| tell("alice", "", "bob", &n.to_string()))
        .collect();
    tiered.run(&commands);
    tiered.archive_all();
    tiered.archive.reads();
    tiered
}

fn history(tiered: &Tiered, window: Window, limit: usize) -> Result<Vec<u64>, QueryError> {
    let id = direct("alice", "bob");
    let page = tiered
        .partition
        .history(who("bob"), &id, window, limit, usize::MAX, 0)?;
    Ok(page.rows.iter().map(|row| row.seq).collect())
}

#[test]
fn page_of_history_is_one_read_of_its_rows_wherever_it_lies() {
    let mut tiered = archived(100);
    let page = |tiered: &Tiered, window| history(tiered, window, 10).expect("readable");
    for window in [Window::Latest, Window::Before(60), Window::After(20)] {
        assert_eq!(page(&tiered, window).len(), 10);
        assert_eq!(tiered.archive.reads(), (1, 10), "{window:?}");
    }
    for n in 0..4 {
        tiered.one(tell("alice", "", "bob", &format!("new {n}")));
    }
    assert_eq!(page(&tiered, Window::Latest)[0], 95);
    assert_eq!(tiered.archive.reads(), (1, 6));
    assert_eq!(page(&tiered, Window::After(95))[8], 104);
    assert_eq!(tiered.archive.reads(), (1, 5));
    assert_eq!(page(&tiered, Window::After(100)).len(), 4);
    assert_eq!(tiered.archive.reads(), (0, 0));
}

#[test]
fn what_is_in_memory_is_answered_without_the_archive() {
    let mut tiered = archived(50);
    let through = tiered.partition.position();
    let id = group("alice", "g");
    tiered.run(&[
        create("alice", "g", "", &["bob"], true),
        send("bob", "", &id, "1"),
        tell("alice", "", "bob", "last"),
    ]);
    let state = &tiered.partition;
    let from = CatchUpFrom::Position(through);
    let page = state
        .catch_up(who("bob"), "d", from, 100, 9_999, 0)
        .expect("readable");
    assert_eq!(page.rows.len(), 3);
    let page = state.deliveries_after(through, 9_999, 0).expect("readable");
    assert_eq!(page.deliveries.len(), 3);
    assert_eq!(tiered.archive.reads(), (0, 0));
}

#[test]
fn list_of_archived_conversations_reads_the_last_rows_and_at_most_one_ordinal_each() {
    let mut tiered = archived(50);
    let list = |tiered: &Tiered| {
        let page = tiered.partition.conversations(who("bob"), "", "", 9, 0);
        page.expect("readable").items.remove(0)
    };
    let item = list(&tiered);
    assert_eq!((item.seq, item.unread), (50, 50));
    assert_eq!(
        item.last.map(|row| text_of(&row.row)),
        Some("alice: 50".into())
    );
    assert_eq!(tiered.archive.reads(), (1, 1));
    tiered.one(read("bob", &direct("alice", "bob"), 20));
    assert_eq!(list(&tiered).unread, 30);
    assert_eq!(tiered.archive.reads(), (2, 2));
    tiered.one(tell("bob", "", "alice", "x"));
    assert_eq!(list(&tiered).unread, 0);
    assert_eq!(tiered.archive.reads(), (0, 0));
}

#[test]
fn catch_up_finds_its_place_in_few_reads_and_reads_rows_by_runs() {
    let tiered = archived(4_000);
    let from = CatchUpFrom::Position(3_990);
    let page = |from, rows| {
        let page = tiered
            .partition
            .catch_up(who("bob"), "d", from, rows, usize::MAX, 0);
        page.expect("readable").rows
    };
    assert_eq!(page(from, 100).len(), 10);
    let (reads, _) = tiered.archive.reads();
    assert!(reads <= 9, "{reads}");
    assert_eq!(page(CatchUpFrom::Position(7), 1_000).len(), 1_000);
    let (reads, rows) = tiered.archive.reads();
    assert!(reads <= 24 + 5 && rows <= 1_400, "{reads} {rows}");
}

#[test]
fn deliveries_of_a_conversation_are_read_by_runs() {
    let tiered = archived(1_000);
    let page = tiered.partition.deliveries_after(0, usize::MAX, 0);
    assert_eq!(page.expect("readable").deliveries.len(), 1_000);
    let (reads, rows) = tiered.archive.reads();
    assert!(reads <= 8 && rows == 1_000, "{reads} {rows}");
}

/// Every query that needs rows, as the error it gives.
fn errors(tiered: &Tiered) -> Vec<String> {
    let state = &tiered.partition;
    let all = usize::MAX;
    let from = CatchUpFrom::Position(0);
    let archive = |error: QueryError| match error {
        QueryError::Archive(error) => error.to_string(),
        QueryError::Refused(refused) => panic!("{refused}"),
    };
    vec![
        history(tiered, Window::Latest, all)
            .map_err(archive)
            .expect_err("back"),
        history(tiered, Window::After(0), all)
            .map_err(archive)
            .expect_err("on"),
        state
            .catch_up(who("bob"), "d", from, all, all, 0)
            .expect_err("catch-up")
            .to_string(),
        state
            .deliveries_after(0, all, 0)
            .expect_err("deliveries")
            .to_string(),
    ]
}

#[test]
fn unreadable_archive_is_an_error_of_every_query_that_needs_it_and_of_no_other() {
    let mut tiered = archived(20);
    tiered.archive.held().unreadable = true;
    assert!(errors(&tiered).iter().all(|error| error == "unreadable"));
    let listed = tiered.partition.conversations(who("bob"), "", "", 9, 0);
    assert_eq!(listed.expect_err("the last row").to_string(), "unreadable");
    let refused = tiered
        .partition
        .history(who("eve"), "d.x", Window::Latest, 1, 1, 0);
    assert!(matches!(refused, Err(QueryError::Refused(_))));
    tiered.one(tell("bob", "", "alice", "21"));
    assert_eq!(
        history(&tiered, Window::After(20), 9).expect("memory"),
        [21]
    );
    assert!(
        tiered
            .partition
            .conversations(who("bob"), "", "", 9, 0)
            .is_ok()
    );
}

#[test]
fn row_that_the_archive_lost_is_an_error_and_not_a_gap() {
    for lost in [1, 10, 20] {
        let tiered = archived(20);
        tiered.archive.held().rows.remove(&(0, lost));
        for error in errors(&tiered) {
            assert!(error.starts_with("the archive lacks row"), "{error}");
        }
    }
}

#[test]
fn archive_of_another_partition_layout_or_secret_is_refused() {
    let archive = archived(3).archive.clone();
    let mut other = settings();
    other.count = 2;
    let mut generation = settings();
    generation.layout_generation = 2;
    let mut secret = settings();
    secret.hash_secret = *b"another_secret__";
    for config in [other, generation, secret] {
        let error = Partition::<usize>::restore(config, archive.clone()).expect_err("foreign");
        assert!(matches!(error, RestoreError::Foreign), "{error}");
    }
    archive.held().unreadable = true;
    let error = Partition::<usize>::restore(settings(), archive).expect_err("unreadable");
    assert!(matches!(error, RestoreError::Archive(_)), "{error}");
}

/// Direct and group conversations, cursors, devices and a membership command with a key.
fn varied() -> Tiered {
    let mut tiered = Tiered::open(settings(), Arc::new(TestArchive::default()), &[]);
    let id = group("alice", "g");
    tiered.run(&[
        tell("alice", "k", "bob", "1"),
        create("alice", "g", "title", &["bob", "carol"], true),
        send("bob", "", &id, "x"),
        support::commands::remove("alice", "k", &id, &["carol"]),
        ack("bob", "web", &id, 1),
        read("bob", &id, 2),
    ]);
    tiered.run(&[support::commands::edit("bob", "", &id, 2, "y")]);
    tiered.archive_all();
    tiered
}

#[test]
fn state_with_a_piece_lost_or_cut_is_noticed_or_still_reads() {
    let whole = varied();
    let pieces: Vec<StateKey> = whole.archive.held().state.keys().copied().collect();
    assert!(
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15]
            .iter()
            .all(|tag| pieces.iter().any(|key| key.parts().0 == *tag))
    );
    for key in pieces {
        let tag = key.parts().0;
        let archive = varied().archive.clone();
        let restore = || Partition::<usize>::restore(settings(), archive.clone());
        let value = archive.held().state.remove(&key).expect("there");
        // A last member, cursor, key or alteration that is not there is like one that never was; without
        // the first expiry, as in archives of earlier versions, every row is looked at.
        if !matches!(tag, 6..=8 | 10..=12 | 14 | 15) {
            assert!(restore().is_err(), "{:?} lost", key.parts());
        }
        for length in 0..value.len() {
            archive.held().state.insert(key, value[..length].to_vec());
            // Names at the end of a value have no length: they are only shorter.
            let found = restore();
            let is_name = matches!(tag, 2..=4 | 9);
            assert!(is_name || found.is_err(), "{:?} cut", key.parts());
        }
        archive.held().state.insert(key, value);
        assert!(restore().is_ok());
    }
}
