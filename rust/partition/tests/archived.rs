//! A partition with an archive, cut and started again anywhere, against one that folded the whole
//! log and has every row in memory.

mod support;

use std::sync::Arc;

use imfast_partition::{CatchUpFrom, Limits, Window};
use proptest::prelude::*;
use support::archive::TestArchive;
use support::model::{Place, name};
use support::operations::{Step, USERS, WINDOW_MS, encode, step};
use support::tiered::{Tiered, Upkeep};
use support::{Owner, config, who};

fn upkeep() -> impl Strategy<Value = Upkeep> {
    let evict = prop::option::weighted(0.7, (0..600usize, 0..12usize));
    (
        prop::bool::weighted(0.6),
        prop::bool::weighted(0.7),
        evict,
        prop::bool::weighted(0.2),
    )
        .prop_map(|(chunk, apply, evict, restart)| Upkeep {
            chunk,
            apply,
            evict,
            restart,
        })
}

fn limits() -> Limits {
    Limits {
        command_window_ms: WINDOW_MS,
        command_window_count: 6,
        devices_per_user_max: 1,
        ..Limits::default()
    }
}

/// The same batches by both; their answers and deliveries are compared as they come.
fn run_both(steps: &[(Step, Upkeep)]) -> (Owner, Tiered) {
    let mut whole = Owner::new(limits());
    let mut tiered = Tiered::open(config(limits()), Arc::new(TestArchive::default()), &[]);
    tiered.time_ms = whole.time_ms;
    for (step, upkeep) in steps {
        whole.time_ms += step.elapsed_ms;
        tiered.time_ms = whole.time_ms;
        let commands: Vec<_> = step.ops.iter().map(encode).collect();
        for (until, others) in &step.failures {
            let others: Vec<_> = others.iter().map(encode).collect();
            let failing = if others.is_empty() {
                &commands
            } else {
                &others
            };
            whole.fail(failing, *until);
            tiered.fail(failing, *until);
        }
        let (expected, found) = (whole.commit(&commands), tiered.commit(&commands));
        assert_eq!(found.outcomes, expected.outcomes);
        assert_eq!(found.deliveries, expected.deliveries);
        tiered.keep_up(*upkeep);
        assert_eq!(tiered.partition.dump(), whole.partition.dump());
        assert_eq!(tiered.partition.heads(), whole.partition.heads());
    }
    (whole, tiered)
}

fn compare_lists(whole: &Owner, tiered: &Owner, limit: usize) {
    for user in (0..USERS).map(name) {
        let mut after = String::new();
        loop {
            let list = |owner: &Owner| {
                owner
                    .partition
                    .conversations(who(&user), "d1", &after, limit, 0)
                    .expect("readable")
            };
            let page = list(whole);
            assert_eq!(list(tiered), page);
            match page.items.last() {
                Some(last) if page.more => after = last.conversation.to_string(),
                _ => break,
            }
        }
        assert_eq!(
            tiered.partition.groups_of(who(&user)),
            whole.partition.groups_of(who(&user))
        );
    }
}

fn compare_histories(whole: &Owner, tiered: &Owner, limit: usize, max_bytes: usize) {
    let groups = (0..2).flat_map(|user| (0..2).map(move |key| Place::Group(user, key)));
    let directs = (0..USERS).flat_map(|a| (a..USERS).map(move |b| Place::Direct(a, b)));
    for id in groups.chain(directs).map(Place::id) {
        for user in (0..USERS).map(name) {
            let windows = (0..9).flat_map(|seq| [Window::Before(seq), Window::After(seq)]);
            for window in windows.chain([Window::Latest]) {
                let page = |owner: &Owner| {
                    owner
                        .partition
                        .history(who(&user), &id, window, limit, max_bytes, 0)
                        .map_err(|error| error.to_string())
                };
                assert_eq!(page(tiered), page(whole), "{id} {user} {window:?}");
            }
        }
    }
}

fn compare_catch_ups(whole: &Owner, tiered: &Owner, from: u64, sizes: (usize, usize)) {
    for user in (0..USERS).map(name) {
        let froms = [CatchUpFrom::Position(from), CatchUpFrom::Device];
        for (device, start) in ["d0", "d1"].into_iter().zip(froms) {
            let mut from = start;
            loop {
                let page = |owner: &Owner| {
                    let state = &owner.partition;
                    state
                        .catch_up(who(&user), device, from, sizes.0, sizes.1, 0)
                        .expect("readable")
                };
                let expected = page(whole);
                assert_eq!(page(tiered), expected);
                if expected.complete {
                    break;
                }
                from = CatchUpFrom::Next(expected.next);
            }
        }
    }
}

fn compare_deliveries(whole: &Owner, tiered: &Owner, from: u64, max_bytes: usize) {
    let mut position = from;
    loop {
        let page = |owner: &Owner| {
            owner
                .partition
                .deliveries_after(position, max_bytes, 0)
                .expect("readable")
        };
        let expected = page(whole);
        assert_eq!(page(tiered), expected);
        position = expected.through;
        if expected.complete {
            break;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn partition_restored_and_evicted_anywhere_answers_like_one_that_folded_the_whole_log(
        steps in prop::collection::vec((step(), upkeep()), 1..14),
        from in any::<prop::sample::Index>(),
        sizes in (1..6usize, 1..400usize),
        at_end in prop::option::of(Just(())),
    ) {
        let (whole, mut tiered) = run_both(&steps);
        if at_end.is_some() {
            tiered.archive_all();
        }
        let from = from.index(whole.partition.position() as usize + 2) as u64;
        compare_lists(&whole, &tiered, sizes.0);
        compare_histories(&whole, &tiered, sizes.0, sizes.1);
        compare_catch_ups(&whole, &tiered, from, sizes);
        compare_deliveries(&whole, &tiered, from, sizes.1);
        // And once more from nothing but the archive and the log behind it.
        tiered.keep_up(Upkeep { chunk: false, apply: false, evict: None, restart: true });
        prop_assert_eq!(tiered.partition.dump(), whole.partition.dump());
        compare_lists(&whole, &tiered, sizes.0);
        compare_catch_ups(&whole, &tiered, from, sizes);
    }
}
