//! Sends and cursors, rule by rule.

mod support;

use std::sync::Arc;

use imfast_partition::archive::Archive as _;
use imfast_partition::{Audience, Limits, Outcome, Partition, Refused, RowKind};
use imfast_wire::frames::row::MessageView;
use support::archive::TestArchive;
use support::commands::{
    ack, create, direct, group, join, leave, read, remove, send, send_content, tell, with_id,
};
use support::sequencer::Sequencer;
use support::tiered::Tiered;
use support::{Owner, config, text_of, who};

const NOW_MS: u64 = 1_763_899_999_000;

fn owner() -> Owner {
    Owner::new(Limits::default())
}

#[test]
fn first_send_creates_the_direct_conversation_for_both() {
    let mut owner = owner();
    let id = direct("alice", "bob");
    assert_eq!(owner.seq(tell("alice", "k1", "bob", "hi")), 1);
    assert_eq!(owner.seq(send("bob", "k1", &id, "hello")), 2);
    let both = vec![(1, "alice: hi".to_owned()), (2, "bob: hello".to_owned())];
    assert_eq!(owner.seen("alice", &id), Ok(both.clone()));
    assert_eq!(owner.seen("bob", &id), Ok(both));
    let listed = owner
        .partition
        .conversations(who("bob"), "", "", 10, 0)
        .expect("readable");
    assert_eq!(listed.items[0].peer.as_deref(), Some("alice"));
}

/// A `UUIDv7` of a time in milliseconds.
fn made_at(ms: u64, number: u8) -> String {
    let (high, low) = (ms >> 16, ms & 0xffff);
    format!("{high:08x}-{low:04x}-7000-8000-0000000000{number:02x}")
}

/// An owner over an archive that has forgotten keys up to a time.
fn forgetful(until_ms: u64) -> Tiered {
    let archive = Arc::new(TestArchive::default());
    archive.held().expired_until_ms = until_ms;
    let mut owner = Tiered::open(config(Limits::default()), archive, &[]);
    owner.time_ms = NOW_MS;
    owner
}

#[test]
fn key_as_old_as_a_forgotten_one_is_refused_unless_it_is_known() {
    let mut owner = forgetful(0);
    let (known, unknown) = (made_at(NOW_MS - 50, 1), made_at(NOW_MS - 50, 2));
    owner.one(tell("alice", &known, "bob", "hi"));
    owner.archive.held().expired_until_ms = NOW_MS - 50;
    owner.partition.keys_from(1);
    let again = owner.one(tell("alice", &known, "bob", "hi"));
    assert!(matches!(again, Outcome::Sent { duplicate, .. } if duplicate));
    let expired = Outcome::Refused(Refused::KeyExpired);
    assert_eq!(owner.one(tell("alice", &unknown, "bob", "hi")), expired);
    let id = direct("alice", "bob");
    assert_eq!(owner.one(send("bob", &unknown, &id, "hi")), expired);
    let younger = made_at(NOW_MS - 49, 3);
    assert_eq!(owner.seq(tell("alice", &younger, "bob", "hi")), 2);
    assert_eq!(owner.seq(tell("alice", "any other key", "bob", "hi")), 3);
    assert_eq!(owner.log.len(), 3);
}

#[test]
fn expired_first_send_makes_no_conversation() {
    let mut owner = forgetful(NOW_MS);
    let key = made_at(NOW_MS, 1);
    let outcomes = owner.run(&[
        tell("alice", &key, "bob", "hi"),
        tell("alice", &made_at(NOW_MS + 1, 2), "bob", "hi"),
        tell("alice", &key, "bob", "hi"),
        tell("alice", &key, "carol", "hi"),
    ]);
    let expired = Outcome::Refused(Refused::KeyExpired);
    assert_eq!((&outcomes[0], &outcomes[2]), (&expired, &expired));
    assert_eq!(outcomes[3], expired);
    assert!(matches!(outcomes[1], Outcome::Sent { seq: 1, .. }));
    assert_eq!(owner.partition.conversation_count(), 1);
}

#[test]
fn key_that_only_the_archive_knows_gives_its_first_result_or_a_conflict() {
    for key in ["any key".to_owned(), made_at(NOW_MS - 50, 1)] {
        let mut owner = forgetful(0);
        let first = owner.one(tell("alice", &key, "bob", "hi"));
        owner.one(tell("alice", "another", "bob", "there"));
        owner.archive_all();
        // The sequencer has none of them any more.
        owner.sequencer =
            Sequencer::restored(owner.archive.reached(), &owner.partition.heads(), &[]);
        let behind = owner.partition.position() + 1;
        owner.partition.keys_from(behind);
        let (
            Outcome::Sent {
                seq,
                message_id,
                position,
                time_ms,
                ..
            },
            again,
        ) = (first, owner.one(tell("alice", &key, "bob", "hi")))
        else {
            panic!("the first send is taken");
        };
        let conversation = direct("alice", "bob").into();
        let expected = Outcome::Sent {
            conversation,
            seq,
            message_id,
            position,
            time_ms,
            duplicate: true,
        };
        assert_eq!(again, expected);
        let other = owner.one(tell("alice", &key, "bob", "something else"));
        assert_eq!(other, Outcome::Refused(Refused::Conflict));
        assert_eq!(
            owner.seq(tell("bob", &key, "alice", "hi")),
            3,
            "another sender"
        );
        owner.archive.held().unreadable = true;
        let unknown = owner.one(tell("alice", &key, "bob", "hi"));
        assert_eq!(unknown, Outcome::Refused(Refused::KeyUnreadable));
        let fresh = made_at(NOW_MS + 1, 9);
        let taken = owner.one(tell("alice", &fresh, "bob", "now"));
        assert!(
            matches!(taken, Outcome::Sent { .. }),
            "no old key says so late a time, so none is looked for: {taken:?}"
        );
    }
}

#[test]
fn send_without_any_content_is_numbered_like_another() {
    let mut owner = owner();
    let id = direct("alice", "bob");
    let empty = send_content("alice", "k", &id, "bob", &[]);
    assert_eq!(owner.seq(empty.clone()), 1);
    assert_eq!(owner.seq(empty), 1);
    assert_eq!(owner.seq(tell("alice", "", "bob", "hi")), 2);
}

#[test]
fn row_holds_the_sender_and_the_results_of_the_numbering() {
    let mut owner = owner();
    let committed = owner.commit(&[tell("alice", "", "bob", "hi")]);
    let delivery = &committed.deliveries[0];
    let Outcome::Sent {
        conversation,
        seq,
        message_id,
        position,
        time_ms,
        duplicate,
    } = &committed.outcomes[0].1
    else {
        panic!("not sent");
    };
    let row = MessageView::parse(&delivery.row).expect("a message");
    assert_eq!((row.conversation, row.from), (&**conversation, "alice"));
    assert_eq!(
        (row.seq, row.message_id, row.timestamp_ms),
        (*seq, *message_id, *time_ms)
    );
    assert_eq!((*time_ms, *duplicate), (owner.time_ms, false));
    assert_eq!(
        (delivery.position, delivery.seq, delivery.kind),
        (*position, *seq, RowKind::Message)
    );
    let audience = Audience::Direct {
        a: "alice".into(),
        b: "bob".into(),
    };
    assert_eq!((&delivery.audience, &delivery.change), (&audience, &None));
}

#[test]
fn retried_send_gets_the_first_result_and_another_payload_a_conflict() {
    let mut owner = owner();
    let first = owner.one(tell("alice", "k1", "bob", "hi"));
    owner.time_ms += 500;
    owner.one(tell("alice", "k2", "bob", "more"));
    let Outcome::Sent {
        conversation,
        seq,
        message_id,
        position,
        time_ms,
        ..
    } = first
    else {
        panic!("not sent");
    };
    let again = owner.one(tell("alice", "k1", "bob", "hi"));
    let duplicate = true;
    let expected = Outcome::Sent {
        conversation,
        seq,
        message_id,
        position,
        time_ms,
        duplicate,
    };
    assert_eq!(again, expected);
    assert_eq!(
        owner.refusal(tell("alice", "k1", "bob", "other")),
        Refused::Conflict
    );
    assert_eq!(owner.seen_seqs("alice", &direct("alice", "bob")), [1, 2]);
    assert_eq!(owner.log.len(), 2);
}

#[test]
fn removed_sender_still_learns_the_result_of_an_accepted_send() {
    let mut owner = owner();
    let id = group("alice", "g");
    owner.one(create("alice", "g", "", &["bob"], false));
    assert_eq!(owner.seq(send("bob", "k1", &id, "hi")), 2);
    owner.one(remove("alice", "", &id, &["bob"]));
    assert_eq!(owner.seq(send("bob", "k1", &id, "hi")), 2);
    assert_eq!(
        owner.refusal(send("bob", "k2", &id, "again")),
        Refused::NotAMember
    );
    assert_eq!(
        owner.refusal(send("bob", "", &id, "again")),
        Refused::NotAMember
    );
}

#[test]
fn removal_in_the_same_batch_refuses_the_sends_behind_it() {
    let mut owner = owner();
    let id = group("alice", "g");
    owner.one(create("alice", "g", "", &["bob"], true));
    let outcomes = owner.run(&[
        send("bob", "k1", &id, "one"),
        remove("alice", "", &id, &["bob"]),
        send("bob", "k2", &id, "two"),
        join("bob", "", &id),
        send("bob", "k3", &id, "three"),
    ]);
    assert_eq!(outcomes[2], Outcome::Refused(Refused::NotAMember));
    let seen: Vec<_> = owner
        .seen("bob", &id)
        .expect("in")
        .into_iter()
        .map(|row| row.1)
        .collect();
    let expected = [
        "alice created alice,bob",
        "bob: one",
        "alice removed bob",
        "bob joined bob",
        "bob: three",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn stranger_cannot_tell_a_conversation_from_none() {
    let mut owner = owner();
    let (known, unknown) = (group("alice", "g"), group("alice", "none"));
    owner.one(create("alice", "g", "", &["bob"], false));
    owner.one(tell("eve", "", "mallory", "so that eve is known"));
    for id in [&known, &unknown] {
        for command in [
            send("eve", "k", id, "hi"),
            join("eve", "k", id),
            leave("eve", "k", id),
            remove("eve", "k", id, &["bob"]),
            ack("eve", "d", id, 1),
            read("eve", id, 1),
        ] {
            assert_eq!(owner.refusal(command), Refused::NotAMember);
        }
        assert_eq!(owner.seen("eve", id), Err(Refused::NotAMember));
        let members = owner.partition.members(who("eve"), id, "", 10);
        assert_eq!(members, Err(Refused::NotAMember));
    }
    let peer_named = |id: &str| send_content("eve", "", id, "alice", &[0x3a, 1, b'x']);
    for id in [&direct("alice", "bob"), &unknown, &known] {
        assert_eq!(owner.refusal(peer_named(id)), Refused::WrongConversation);
    }
}

#[test]
fn conversation_of_another_partition_is_refused() {
    let mut elsewhere = config(Limits::default());
    (elsewhere.partition, elsewhere.count) = (0, 2);
    let mut refused = 0;
    let mut owner = owner();
    owner.partition = Partition::new(elsewhere);
    for n in 0..32 {
        match owner.one(tell("alice", "", &format!("peer{n}"), "hi")) {
            Outcome::Refused(Refused::WrongPartition) => refused += 1,
            Outcome::Sent { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((1..32).contains(&refused), "{refused}");
}

#[test]
fn forged_or_unreadable_commands_are_refused_and_not_logged() {
    let mut owner = owner();
    let id = direct("alice", "bob");
    let forged_sender = [0x3a, 2, b'h', b'i', 0x22, 1, b'x'];
    for command in [
        vec![],
        vec![0xff; 20],
        tell("alice", "", "alice", "to myself"),
        tell("", "", "bob", "nobody"),
        tell("a\nb", "", "bob", "control"),
        tell("alice", "", &"x".repeat(129), "too long a name"),
        send_content("alice", "", &id, "bob", &forged_sender),
        send_content("alice", "", &id, "bob", &[0x3a, 200, b'h']),
        with_id(&tell("alice", "", "bob", "id of my own"), 7),
    ] {
        assert_eq!(owner.refusal(command), Refused::Malformed);
    }
    let wrong = send_content("alice", "", &direct("alice", "carol"), "bob", &[]);
    assert_eq!(owner.refusal(wrong), Refused::WrongConversation);
    let large = "x".repeat(Limits::default().content_bytes_max);
    assert_eq!(
        owner.refusal(tell("alice", "", "bob", &large)),
        Refused::TooLarge
    );
    assert_eq!(
        (owner.log.len(), owner.partition.conversation_count()),
        (0, 0)
    );
}

#[test]
fn cursors_rise_only_and_stop_at_the_head() {
    let mut owner = owner();
    let id = direct("alice", "bob");
    for n in 0..5 {
        owner.one(tell("alice", "", "bob", &format!("{n}")));
    }
    let cursors = |owner: &Owner| {
        let page = owner
            .partition
            .conversations(who("bob"), "phone", "", 10, 0)
            .expect("readable");
        (
            page.items[0].acked_seq,
            page.items[0].read_seq,
            page.items[0].unread,
        )
    };
    assert_eq!(cursors(&owner), (0, 0, 5));
    owner.run(&[ack("bob", "phone", &id, 3), read("bob", &id, 2)]);
    assert_eq!(cursors(&owner), (3, 2, 3));
    let logged = owner.log.len();
    assert_eq!(
        owner.run(&[ack("bob", "phone", &id, 1), read("bob", &id, 2)]),
        [Outcome::Acked, Outcome::Acked]
    );
    assert_eq!((cursors(&owner), owner.log.len()), ((3, 2, 3), logged));
    owner.run(&[ack("bob", "phone", &id, u64::MAX), read("bob", &id, 99)]);
    assert_eq!(cursors(&owner), (5, 5, 0));
    owner.one(tell("alice", "", "bob", "new"));
    assert_eq!(cursors(&owner), (5, 5, 1));
}

#[test]
fn own_send_counts_as_read() {
    let mut owner = owner();
    let id = direct("alice", "bob");
    owner.run(&[tell("alice", "", "bob", "1"), tell("alice", "", "bob", "2")]);
    owner.one(send("bob", "", &id, "3"));
    let unread = |user: &str| {
        owner
            .partition
            .conversations(who(user), "", "", 1, 0)
            .expect("readable")
            .items[0]
            .unread
    };
    assert_eq!((unread("bob"), unread("alice")), (0, 1));
}

#[test]
fn batch_takes_what_its_bounds_allow_and_at_least_one() {
    let mut owner = owner();
    let mut incoming: std::collections::VecDeque<_> = (0..10)
        .map(|origin| imfast_partition::Incoming {
            command: tell("a", "", "b", "x"),
            origin,
        })
        .collect();
    let length = incoming[0].command.len();
    for (max_commands, max_bytes, taken) in [(3, usize::MAX, 3), (9, 0, 1), (9, length + 1, 2)] {
        let began = owner
            .partition
            .begin(1, &mut incoming, max_commands, max_bytes);
        assert_eq!(began, taken);
        assert_eq!(owner.partition.batch_bytes(), taken * length);
        assert_eq!(owner.partition.rollback().len(), taken);
        assert_eq!(owner.partition.batch_bytes(), 0);
    }
    assert_eq!(incoming.len(), 4);
    incoming.clear();
    assert_eq!(owner.partition.begin(1, &mut incoming, 1, 1), 0);
    assert!(!owner.partition.is_busy());
}

#[test]
fn text_of_a_large_row_is_the_text_that_was_sent() {
    let mut owner = owner();
    let text = "y".repeat(40_000);
    let committed = owner.commit(&[tell("alice", "", "bob", &text)]);
    assert_eq!(
        text_of(&committed.deliveries[0].row),
        format!("alice: {text}")
    );
    assert!(owner.partition.row_bytes() > 40_000);
    let reopened = owner.reopened().expect("our own log");
    assert_eq!(reopened.partition.dump(), owner.partition.dump());
}
