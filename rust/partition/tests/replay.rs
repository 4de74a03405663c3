//! The log: what is written, what is read again, what is refused.

mod support;

use imfast_partition::{
    CatchUpFrom, FOLD_VERSION, Limits, Outcome, Refused, ReplayError, record::verdict,
};
use imfast_wire::frames::id::EVERYBODY;
use imfast_wire::protobuf::{Reader, put_varint};
use support::commands::{ack, add, create, direct, group, join, leave, read, send, tell, with_id};
use support::{Owner, batch_commands, text_of, who};

fn owner() -> Owner {
    Owner::new(Limits::default())
}

#[test]
fn logged_commands_are_the_accepted_ones_with_their_ids() {
    let mut owner = owner();
    let first = tell("alice", "k", "bob", "hi");
    let outcomes = owner.run(&[
        first.clone(),
        first.clone(),
        send("eve", "", &direct("alice", "bob"), "no"),
        ack("bob", "d", &direct("alice", "bob"), 1),
    ]);
    let batch = &owner.log[0];
    assert_eq!(
        (batch.first_position, batch.count, batch.fold_version),
        (1, 2, FOLD_VERSION)
    );
    let commands = batch_commands(batch);
    let Outcome::Sent { message_id, .. } = outcomes[0] else {
        panic!("not sent")
    };
    assert!(commands[0].starts_with(&first));
    let mut tail = Reader::new(&commands[0][first.len()..]);
    let (field, value) = tail.field().expect("valid").expect("the id");
    assert_eq!(
        (field, value.number(), tail.field()),
        (5, message_id, Ok(None))
    );
    assert_eq!(commands[1], ack("bob", "d", &direct("alice", "bob"), 1));
}

#[test]
fn batch_of_refusals_and_retries_logs_nothing() {
    let mut owner = owner();
    owner.one(tell("alice", "k", "bob", "hi"));
    let before = owner.partition.dump();
    owner.time_ms += 5;
    owner.run(&[
        tell("alice", "k", "bob", "hi"),
        send("eve", "", "g.none", "no"),
    ]);
    assert_eq!((owner.log.len(), owner.partition.dump()), (1, before));
}

#[test]
fn limits_lowered_since_do_not_stop_a_replay() {
    let mut owner = owner();
    let id = group("alice", "g");
    owner.run(&[
        create("alice", "g", "a long title", &["b", "c"], true),
        add("alice", "k", &id, &["d", "e"]),
        send("d", "", &id, "some text"),
        leave("d", "k", &id),
        join("d", "k2", &id),
    ]);
    let lowered = Limits {
        content_bytes_max: 1,
        title_bytes_max: 1,
        users_per_command_max: 1,
        group_members_max: 1,
        command_window_ms: 1,
        ..Limits::default()
    };
    let mut reopened = Owner::new(lowered);
    for batch in &owner.log {
        let commands = batch_commands(batch);
        reopened
            .partition
            .replay_begin(batch.time_ms, commands)
            .expect("accepted before");
        reopened
            .sequencer
            .number(reopened.partition.records_mut().0);
        reopened
            .partition
            .replay_finish_commit()
            .expect("numbered before");
    }
    assert_eq!(reopened.seen("d", &id), owner.seen("d", &id));
    assert_eq!(
        reopened.refusal(send("d", "", &id, "some text")),
        Refused::TooLarge
    );
}

#[test]
fn replay_of_what_could_not_have_been_accepted_names_the_position() {
    let id = group("alice", "g");
    let logged = |commands: &[Vec<u8>]| {
        let mut owner = owner();
        owner.one(create("alice", "g", "", &["bob"], false));
        let commands = commands.iter().map(Vec::as_slice);
        let error = owner
            .partition
            .replay_begin(owner.time_ms, commands)
            .expect_err("refused");
        owner.partition.rollback();
        error
    };
    let first = with_id(&send("bob", "", &id, "hi"), 1 << 60);
    let stranger = with_id(&send("eve", "", &id, "hi"), 1 << 61);
    let refused = ReplayError::Refused {
        position: 3,
        reason: Refused::NotAMember,
    };
    assert_eq!(logged(&[first.clone(), stranger]), refused);
    let without_id = ReplayError::Refused {
        position: 2,
        reason: Refused::Malformed,
    };
    assert_eq!(logged(&[send("bob", "", &id, "hi")]), without_id);
    let no_change = with_id(&add("alice", "", &id, &["bob"]), 1 << 61);
    assert_eq!(
        logged(&[first, no_change]),
        ReplayError::Unchanged { position: 3 }
    );
    let again = with_id(&create("alice", "g", "", &["bob"], false), 1 << 61);
    assert_eq!(logged(&[again]), ReplayError::Unchanged { position: 2 });
}

#[test]
fn replay_that_numbers_otherwise_is_an_error_and_leaves_nothing() {
    let mut owner = owner();
    owner.one(tell("alice", "k", "bob", "hi"));
    let before = owner.partition.dump();
    let again = with_id(&tell("alice", "k", "bob", "hi"), 1 << 60);
    owner
        .partition
        .replay_begin(owner.time_ms, [&again[..]])
        .expect("readable");
    owner.sequencer.number(owner.partition.records_mut().0);
    assert_eq!(owner.partition.records()[0].verdict, verdict::DUPLICATE);
    let error = owner
        .partition
        .replay_finish_commit()
        .expect_err("a duplicate");
    let ReplayError::Disagreement(disagreement) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(disagreement.position, 2);
    assert!(error.to_string().contains("position 2"));
    owner.partition.rollback();
    assert_eq!(owner.partition.dump(), before);
}

#[test]
fn numbering_that_breaks_an_agreement_is_noticed() {
    type Break = fn(&mut [u8]);
    let breaks: [(&str, Break); 6] = [
        ("seq is not the next", |record| record[32] = 9),
        ("message id does not rise", |record| {
            record[40..48].fill(0xff);
        }),
        ("message id is missing", |record| record[40..48].fill(0)),
        ("position is not the next", |record| record[48] = 9),
        ("unknown verdict", |record| record[29] = 77),
        ("first send was not new", |record| record[29] = 3),
    ];
    for (what, break_it) in breaks {
        let mut owner = owner();
        let before = owner.partition.dump();
        let commands = [
            tell("alice", "", "bob", "1"),
            tell("alice", "", "carol", "2"),
        ];
        let mut incoming = commands
            .into_iter()
            .map(|command| imfast_partition::Incoming { command, origin: 0 })
            .collect();
        owner
            .partition
            .begin(owner.time_ms, &mut incoming, 9, 9_999);
        owner.sequencer.number(owner.partition.records_mut().0);
        let records = owner.partition.records_mut().0;
        // A too high id is noticed at the next record, everything else at once.
        break_it(if what.contains("rise") {
            &mut records[..64]
        } else {
            &mut records[64..]
        });
        let disagreement = owner.partition.finish().expect_err("broken");
        let expected = if what == "unknown verdict" {
            "first send was not new"
        } else {
            what
        };
        assert_eq!((disagreement.position, disagreement.what), (2, expected));
        owner.partition.rollback();
        assert_eq!(owner.partition.dump(), before);
    }
}

#[test]
fn deliveries_are_the_same_at_commit_and_from_memory() {
    let mut owner = owner();
    let id = group("alice", "g");
    let batches = [
        vec![
            create("alice", "g", "t", &["bob"], true),
            tell("alice", "", "bob", "hi"),
        ],
        vec![
            read("bob", &id, 1),
            join("dan", "", &id),
            send("dan", "", &id, "x"),
        ],
        vec![ack("bob", "d", &id, 2)],
        vec![leave("bob", "", &id)],
        vec![ack("dan", "d", &id, 2)],
    ];
    let live: Vec<_> = batches
        .iter()
        .flat_map(|batch| owner.commit(batch).deliveries)
        .collect();
    assert_eq!(
        live.iter().map(|d| d.position).collect::<Vec<_>>(),
        [1, 2, 4, 5, 7]
    );
    let reopened = owner.reopened().expect("our own log");
    for position in 0..=9 {
        for max_bytes in [1, 100, usize::MAX] {
            let (mut at, mut again) = (position, Vec::new());
            loop {
                let page = reopened
                    .partition
                    .deliveries_after(at, max_bytes, 0)
                    .expect("readable");
                assert!(
                    page.deliveries
                        .iter()
                        .all(|d| d.position > at && d.position <= page.through)
                );
                again.extend(page.deliveries);
                at = page.through;
                if page.complete {
                    break;
                }
            }
            assert_eq!(at, 8);
            let expected: Vec<_> = live
                .iter()
                .filter(|d| d.position > position)
                .cloned()
                .collect();
            assert_eq!(again, expected);
        }
    }
}

#[test]
fn device_that_acknowledged_longest_ago_gives_way() {
    let mut owner = Owner::new(Limits {
        devices_per_user_max: 2,
        ..Limits::default()
    });
    let id = direct("alice", "bob");
    owner.one(tell("alice", "", "bob", "1"));
    owner.run(&[ack("bob", "old", &id, 1), ack("bob", "busy", &id, 1)]);
    owner.one(tell("alice", "", "bob", "2"));
    owner.one(ack("bob", "busy", &id, 2));
    owner.one(ack("bob", "new", &id, 1));
    let missed = |device: &str| {
        let page = owner
            .partition
            .catch_up(who("bob"), device, CatchUpFrom::Device, 9, 999, 0)
            .expect("readable");
        page.rows
            .iter()
            .map(|row| text_of(&row.row))
            .collect::<Vec<_>>()
    };
    assert!(missed("old").is_empty() && missed("busy").is_empty());
    assert_eq!(missed("new"), ["alice: 2"]);
    assert_eq!(
        owner.reopened().expect("our own log").partition.dump(),
        owner.partition.dump()
    );
}

#[test]
fn catch_up_of_nobody_is_complete_and_empty() {
    let mut owner = owner();
    owner.one(tell("alice", "", "bob", "1"));
    let page = owner
        .partition
        .catch_up(who("eve"), "d", CatchUpFrom::Position(0), 9, 999, 0)
        .expect("readable");
    assert!(page.rows.is_empty() && page.complete);
    assert_eq!(
        (page.groups, page.through, page.next.position),
        (Some(vec![EVERYBODY.into()]), 1, 1)
    );
}

#[test]
fn payload_is_a_list_of_lengths_and_commands() {
    let mut owner = owner();
    owner.run(&[tell("alice", "", "bob", "1"), tell("alice", "", "bob", "2")]);
    let batch = &owner.log[0];
    let mut expected = Vec::new();
    for command in batch_commands(batch) {
        put_varint(&mut expected, command.len() as u64);
        expected.extend_from_slice(command);
    }
    assert_eq!(batch.payload, expected);
}
