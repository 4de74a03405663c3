//! Random commands, batches, failures and restarts, compared with a plain model.

mod support;

use std::collections::BTreeMap;

use imfast_partition::{CatchUpFrom, Limits, Outcome, Page, Window};
use proptest::prelude::*;
use support::model::{Expected, Model, Op, Place, User, name};
use support::operations::{Step, USERS, WINDOW_MS, encode, op, step};
use support::{Owner, text_of, who};

fn plain(outcome: &Outcome) -> Expected {
    match outcome {
        &Outcome::Sent {
            seq,
            position,
            duplicate,
            ..
        } => Expected::Sent {
            seq,
            position,
            duplicate,
        },
        &Outcome::Group { seq, .. } => Expected::Group { seq },
        Outcome::Acked => Expected::Acked,
        &Outcome::Refused(reason) => Expected::Refused(reason),
    }
}

fn run_steps(steps: &[Step]) -> (Owner, Model) {
    let limits = Limits {
        command_window_ms: WINDOW_MS,
        ..Limits::default()
    };
    let mut owner = Owner::new(limits);
    let mut model = Model::new(WINDOW_MS);
    for step in steps {
        owner.time_ms += step.elapsed_ms;
        let commands: Vec<_> = step.ops.iter().map(encode).collect();
        for (until, others) in &step.failures {
            let others: Vec<_> = others.iter().map(encode).collect();
            owner.fail(
                if others.is_empty() {
                    &commands
                } else {
                    &others
                },
                *until,
            );
        }
        model.start_batch(owner.time_ms);
        let outcomes = owner.run(&commands);
        for (op, outcome) in step.ops.iter().zip(&outcomes) {
            assert_eq!(plain(outcome), model.apply(op), "{op:?}");
        }
        if step.restart {
            let reopened = owner.reopened().expect("the log is our own");
            assert_eq!(reopened.partition.dump(), owner.partition.dump());
            owner = reopened;
        }
    }
    assert_eq!(owner.partition.position(), model.position);
    (owner, model)
}

/// All pages of a catch-up as (position, text).
fn catch_up(
    owner: &Owner,
    user: User,
    device: &str,
    from: CatchUpFrom,
    sizes: &[(usize, usize)],
) -> Vec<(u64, String)> {
    let mut from = from;
    let mut rows = Vec::new();
    for (max_rows, max_bytes) in sizes.iter().cycle() {
        let user = name(user);
        let page: Page = owner
            .partition
            .catch_up(who(&user), device, from, *max_rows, *max_bytes, 0)
            .expect("readable");
        assert_eq!(page.through, owner.partition.position());
        assert!(page.rows.len() <= *max_rows && (page.complete || !page.rows.is_empty()));
        assert_eq!(page.groups.is_some(), !matches!(from, CatchUpFrom::Next(_)));
        rows.extend(
            page.rows
                .iter()
                .map(|row| (row.position, text_of(&row.row))),
        );
        if page.complete {
            return rows;
        }
        from = CatchUpFrom::Next(page.next);
    }
    rows
}

fn check_histories(owner: &Owner, model: &Model) {
    for (place, conversation) in &model.conversations {
        for user in 0..USERS {
            let seen = owner.seen(&name(user), &place.id());
            let Some(member) = conversation.members.get(&user) else {
                assert!(seen.is_err());
                continue;
            };
            let rows = conversation.rows.iter().zip(1u64..);
            let expected: Vec<_> = rows
                .filter(|(_, seq)| member.sees(*seq))
                .map(|(row, seq)| (seq, row.text.clone()))
                .collect();
            assert_eq!(seen, Ok(expected));
        }
    }
}

fn check_lists(owner: &Owner, model: &Model) {
    for user in 0..USERS {
        let name_of_user = name(user);
        let page = owner
            .partition
            .conversations(who(&name_of_user), "d0", "", 1_000, 0)
            .expect("readable");
        let listed: BTreeMap<_, _> = page
            .items
            .iter()
            .map(|item| (item.conversation.to_string(), item))
            .collect();
        assert_eq!(listed.len(), page.items.len());
        let mut count = 0;
        for (&place, conversation) in &model.conversations {
            let Some(role) = conversation.role(user) else {
                continue;
            };
            count += 1;
            let member = &conversation.members[&user];
            let item = listed[&place.id()];
            let joined = member.stays.last().expect("a stay").0;
            let seen = member.read.max(member.last_send).max(joined - 1);
            let unread = conversation.rows.iter().zip(1..);
            let unread = unread
                .filter(|(row, seq)| row.is_message && *seq > seen)
                .count();
            assert_eq!(
                (item.seq, item.joined_seq, item.read_seq, item.unread),
                (
                    conversation.rows.len() as u64,
                    joined,
                    member.read,
                    unread as u64
                )
            );
            assert_eq!(
                item.acked_seq,
                model.acks.get(&(user, 0, place)).copied().unwrap_or(0)
            );
            let members = owner
                .partition
                .members(who(&name_of_user), &place.id(), "", 1_000)
                .expect("in");
            let own = members
                .members
                .iter()
                .find(|info| *info.user == *name_of_user);
            assert_eq!(
                own.map(|info| (info.role, info.joined_seq)),
                Some((role, joined))
            );
            let current = conversation
                .members
                .values()
                .filter(|m| m.role.is_some())
                .count();
            assert_eq!(members.members.len(), current);
        }
        assert_eq!(count, listed.len());
    }
}

fn check_device_catch_up(owner: &Owner, model: &Model, sizes: &[(usize, usize)]) {
    for user in 0..USERS {
        for device in 0..2 {
            let Some(&first) = model.devices.get(&(user, device)) else {
                let rows = catch_up(
                    owner,
                    user,
                    &format!("d{device}"),
                    CatchUpFrom::Device,
                    sizes,
                );
                assert!(rows.is_empty(), "a device never seen starts at now");
                continue;
            };
            let missed = |&(position, place, seq, _): &(u64, Place, u64, _)| match model
                .acks
                .get(&(user, device, place))
            {
                Some(&acked) => seq > acked,
                None => position > first,
            };
            let expected: Vec<_> = model
                .visible(user)
                .into_iter()
                .filter(missed)
                .map(|(position, _, _, row)| (position, row.text.clone()))
                .collect();
            for from in [
                CatchUpFrom::Device,
                CatchUpFrom::Position(model.position + 1),
            ] {
                let rows = catch_up(owner, user, &format!("d{device}"), from, sizes);
                assert_eq!(rows, expected);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn random_batches_failures_and_restarts_answer_and_show_what_the_model_does(
        steps in prop::collection::vec(step(), 1..14),
        froms in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        sizes in prop::collection::vec((1..6usize, 1..400usize), 1..4),
    ) {
        let (owner, model) = run_steps(&steps);
        check_histories(&owner, &model);
        check_lists(&owner, &model);
        check_device_catch_up(&owner, &model, &sizes);
        for from in froms {
            let from = from.index(model.position as usize + 1) as u64;
            for user in 0..USERS {
                let rows = catch_up(&owner, user, "", CatchUpFrom::Position(from), &sizes);
                let visible = model.visible(user).into_iter();
                let expected: Vec<_> = visible
                    .filter(|row| row.0 > from)
                    .map(|row| (row.0, row.3.text.clone()))
                    .collect();
                prop_assert_eq!(rows, expected);
            }
        }
    }

    #[test]
    fn batches_cut_otherwise_give_the_same_state(
        ops in prop::collection::vec(op(), 1..60),
        cuts in prop::collection::vec(1..9usize, 1..6),
    ) {
        // Reads and acks that repeat within a batch are logged, those of an earlier one are not.
        let ops: Vec<_> = ops
            .into_iter()
            .filter(|op| !matches!(op, Op::Ack { .. } | Op::Read { .. }))
            .collect();
        prop_assume!(!ops.is_empty());
        let mut whole = Owner::new(Limits::default());
        let mut cut = Owner::new(Limits::default());
        let commands: Vec<_> = ops.iter().map(encode).collect();
        let expected = whole.run(&commands);
        let mut outcomes = Vec::new();
        let mut rest = &commands[..];
        for &size in cuts.iter().cycle() {
            let (batch, after) = rest.split_at(size.min(rest.len()));
            outcomes.extend(cut.run(batch));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(outcomes, expected);
        prop_assert_eq!(cut.partition.dump(), whole.partition.dump());
    }

    #[test]
    fn history_pages_in_either_direction_join_to_the_whole(
        steps in prop::collection::vec(step(), 1..10),
        sizes in prop::collection::vec((1..5usize, 1..300usize), 1..4),
    ) {
        let (owner, model) = run_steps(&steps);
        for (place, conversation) in &model.conversations {
            for &user in conversation.members.keys() {
                let whole = owner.seen_seqs(&name(user), &place.id());
                let user = name(user);
                let page = |window, (limit, max_bytes)| {
                    let page = owner
                        .partition
                        .history(who(&user), &place.id(), window, limit, max_bytes, 0)
                        .expect("was in");
                    (page.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), page.more)
                };
                let (mut forward, mut backward) = (Vec::new(), Vec::new());
                for &size in sizes.iter().cycle() {
                    let (rows, more) = page(Window::After(forward.last().copied().unwrap_or(0)), size);
                    forward.extend(rows);
                    if !more {
                        break;
                    }
                }
                let mut window = Window::Latest;
                for &size in sizes.iter().cycle() {
                    let (mut rows, more) = page(window, size);
                    rows.append(&mut backward);
                    backward = rows;
                    if !more {
                        break;
                    }
                    window = Window::Before(backward[0]);
                }
                prop_assert_eq!(&forward, &whole);
                prop_assert_eq!(&backward, &whole);
            }
        }
    }
}
