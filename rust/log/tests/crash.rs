//! Power cuts at every operation of a workload: what was acknowledged is there, nothing is there by half.

mod fixture;

use fixture::{batch_of, batches, dir, open, options, try_open};
use imfast_log::sim::{Fault, Operation, SimFs, Tear};
use imfast_log::{AppendError, Batch, Durability, FileSystem, OpenOptions};
use proptest::prelude::*;

/// What a client could know when the power went.
#[derive(Default)]
struct Promised {
    acknowledged: Vec<Batch>,
    /// Written, outcome unknown.
    in_flight: Option<Batch>,
    epoch: u64,
}

/// Opens the log and appends batches of the given command counts until the machine stops.
fn work(fs: &SimFs, options: OpenOptions, counts: &[u32]) -> Promised {
    let mut promised = Promised::default();
    let Ok(mut opened) = try_open(fs, options) else {
        return promised;
    };
    promised.epoch = opened.epoch;
    let mut next = opened.last_position + 1;
    for &count in counts {
        let mut batch = batch_of(next, count, "a command of some length");
        let mut outcome = opened.log.append_now(&batch);
        if matches!(outcome, Err(AppendError::Retryable { .. })) {
            // Nothing of it may be in the log, so something else takes its place.
            batch = batch_of(next, count, "another");
            outcome = opened.log.append_now(&batch);
        }
        if outcome.is_err() {
            promised.in_flight = Some(batch);
            return promised;
        }
        next += u64::from(count);
        promised.acknowledged.push(batch);
    }
    promised
}

/// Opens the log again and says what is wrong with it.
fn check(fs: &SimFs, options: OpenOptions, promised: &Promised) -> Result<(), String> {
    let opened = try_open(fs, options).map_err(|error| format!("does not open: {error}"))?;
    if opened.epoch <= promised.epoch {
        return Err(format!("epoch {} was given before", opened.epoch));
    }
    let found = batches(&opened.log, 1).map_err(|error| format!("does not replay: {error}"))?;
    let kept = promised.acknowledged.len();
    if found.len() < kept || found[..kept] != promised.acknowledged {
        return Err(format!(
            "{} of {kept} acknowledged batches are there",
            found.len()
        ));
    }
    let extra = &found[kept..];
    if extra.len() > 1 || (extra.len() == 1 && extra.first() != promised.in_flight.as_ref()) {
        return Err(format!("{} batches too many", extra.len()));
    }
    if opened.last_position
        != found
            .iter()
            .map(|batch| u64::from(batch.count))
            .sum::<u64>()
    {
        return Err(format!("last position {}", opened.last_position));
    }
    // And it goes on.
    let mut log = opened.log;
    let next = batch_of(opened.last_position + 1, 2, "later");
    log.append_now(&next)
        .map_err(|error| format!("takes no append: {error}"))?;
    drop(log);
    let again = try_open(fs, options).map_err(|error| format!("does not open again: {error}"))?;
    match batches(&again.log, 1) {
        Ok(all) if all.len() == found.len() + 1 && all.last() == Some(&next) => Ok(()),
        other => Err(format!("second replay: {other:?}")),
    }
}

/// Runs the workload once for every operation and tear.
fn check_every_crash(
    counts: &[u32],
    options: OpenOptions,
    tears: &[Tear],
    prepare: impl Fn(&SimFs),
) -> Result<u64, String> {
    let machine = SimFs::new();
    prepare(&machine);
    assert_eq!(
        work(&machine, options, counts).acknowledged.len(),
        counts.len()
    );
    let total = machine.operations();
    for stop in 0..=total + 1 {
        for &tear in tears {
            let fs = SimFs::new();
            prepare(&fs);
            fs.stop_after(stop);
            let promised = work(&fs, options, counts);
            check(&fs.crash(tear), options, &promised)
                .map_err(|wrong| format!("stopped after {stop} operations, {tear:?}: {wrong}"))?;
        }
    }
    Ok(total)
}

fn small_segments() -> OpenOptions {
    OpenOptions {
        segment_bytes: 300,
        ..options()
    }
}

fn tears(bytes: u64) -> Vec<Tear> {
    let seeded = (0..24).map(Tear::Seeded);
    [Tear::Lost, Tear::Kept]
        .into_iter()
        .chain((0..bytes).map(Tear::At))
        .chain(seeded)
        .collect()
}

#[test]
fn acknowledged_batches_survive_a_power_cut_after_every_operation_with_every_tear() {
    // Two batches a segment, so that the cuts meet rolls too; no batch is longer than 230 bytes.
    let operations =
        check_every_crash(&[1, 3, 2, 7, 1], small_segments(), &tears(232), |_| {}).unwrap();
    assert!(operations > 20, "the workload rolls: {operations}");
}

#[test]
fn log_that_forgets_to_sync_is_caught() {
    let wrong = check_every_crash(&[1, 3, 2], small_segments(), &[Tear::Lost], |fs| {
        fs.ignore_data_syncs(true);
    })
    .unwrap_err();
    assert!(wrong.contains("acknowledged batches are there"), "{wrong}");
}

#[test]
fn power_cut_during_recovery_loses_nothing() {
    let torn = || {
        let fs = SimFs::new();
        fs.stop_after(10);
        let promised = work(&fs, small_segments(), &[1, 1, 1]);
        assert_eq!(
            promised.acknowledged.len(),
            2,
            "stopped with a batch in flight"
        );
        (fs.crash(Tear::At(30)), promised)
    };
    let (fs, _) = torn();
    let before = fs.operations();
    assert!(open(&fs).cut.is_some(), "the torn batch is cut");
    let recovery = fs.operations() - before;
    for stop in 0..=recovery {
        for tear in [Tear::Lost, Tear::Kept, Tear::Seeded(1), Tear::Seeded(2)] {
            let (fs, promised) = torn();
            fs.stop_after(stop);
            let epoch =
                try_open(&fs, small_segments()).map_or(promised.epoch, |opened| opened.epoch);
            let promised = Promised { epoch, ..promised };
            check(&fs.crash(tear), small_segments(), &promised)
                .unwrap_or_else(|wrong| panic!("stopped after {stop}, {tear:?}: {wrong}"));
        }
    }
}

#[test]
fn killed_process_loses_nothing_with_durability_os() {
    let options = OpenOptions {
        durability: Durability::Os,
        ..small_segments()
    };
    let machine = SimFs::new();
    work(&machine, options, &[1, 3, 2, 7, 1]);
    for stop in 0..=machine.operations() {
        let fs = SimFs::new();
        fs.stop_after(stop);
        let promised = work(&fs, options, &[1, 3, 2, 7, 1]);
        check(&fs.kill(), options, &promised).unwrap();
    }
}

#[test]
fn batch_that_a_killed_writer_left_in_the_cache_is_durable_once_the_log_is_open() {
    let fs = SimFs::new();
    let mut log = open(&fs).log;
    // The write comes through, its sync does not.
    fs.stop_after(1);
    let batch = batch_of(1, 3, "in flight");
    assert!(log.append_now(&batch).is_err());
    let fs = fs.kill();
    assert_eq!(open(&fs).last_position, 3);
    let log = open(&fs.crash(Tear::Lost)).log;
    assert_eq!(batches(&log, 1).unwrap(), [batch]);
}

#[test]
fn power_cut_with_durability_os_leaves_a_log_that_opens_up_to_the_sealed_part() {
    let options = OpenOptions {
        durability: Durability::Os,
        ..small_segments()
    };
    let fs = SimFs::new();
    let promised = work(&fs, options, &[1, 3, 2, 7, 1, 4, 4, 4]);
    let opened = try_open(&fs.crash(Tear::Lost), options).unwrap();
    let found = batches(&opened.log, 1).unwrap();
    assert!(found.len() > 4, "full segments were synced");
    assert_eq!(found, promised.acknowledged[..found.len()]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_batches_survive_any_workload(
        lives in prop::collection::vec((prop::collection::vec(1u32..9, 0..6), 0u64..40, any::<u64>()), 1..5),
        shorts in prop::collection::vec((0u32..20, 0usize..60), 0..3),
        segment_bytes in 150u64..900,
    ) {
        // Several lives of one log, each ended by a power cut; what one life acknowledged, all later ones keep.
        let options = OpenOptions { segment_bytes, ..options() };
        let mut fs = SimFs::new();
        for (skip, bytes) in shorts {
            fs.inject(Operation::Write, skip, Fault::Short(bytes));
        }
        let mut known: Vec<Batch> = Vec::new();
        for (counts, stop, seed) in lives {
            fs.stop_after(stop);
            let promised = work(&fs, options, &counts);
            known.extend(promised.acknowledged);
            fs = fs.crash(Tear::Seeded(seed));

            let found = batches(&try_open(&fs, options).unwrap().log, 1).unwrap();
            prop_assert!(found.len() >= known.len(), "{} of {}", found.len(), known.len());
            prop_assert_eq!(&found[..known.len()], &known[..]);
            prop_assert!(found[known.len()..].iter().all(|extra| Some(extra) == promised.in_flight.as_ref()));
            prop_assert!(found.len() <= known.len() + 1);
            known = found;
        }
        let names = fs.list(dir()).unwrap();
        prop_assert!(names.iter().all(|name| !name.contains(".new")), "leftovers in {:?}", names);
    }
}
