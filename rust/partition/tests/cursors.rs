//! Cursors of devices and users, unread counts and receipts.

mod support;

use std::collections::BTreeMap;

use imfast_partition::{
    CatchUpFrom, Limits, Noted, Outcome, Receipt, ReceiptCounts, Refused, Summary,
};
use proptest::prelude::*;
use support::commands as c;
use support::{Owner, who};

fn summary(owner: &Owner, user: &str, device: &str) -> Summary {
    let page = owner.partition.conversations(who(user), device, "", 9, 0);
    page.expect("memory").items.remove(0)
}

/// (read, acked, unread) of a user on a device.
fn cursors(owner: &Owner, user: &str, device: &str) -> (u64, u64, u64) {
    let summary = summary(owner, user, device);
    (summary.read_seq, summary.acked_seq, summary.unread)
}

fn log_cursors(owner: &mut Owner) -> usize {
    let mut commands = 0;
    while let Some(command) = owner.partition.take_cursors(4_096) {
        assert_eq!(owner.one(command), Outcome::Acked);
        owner.partition.cursors_logged();
        commands += 1;
    }
    commands
}

/// A group of alice, bob and carol with ten messages of alice behind its creation.
fn group() -> (Owner, String) {
    let mut owner = Owner::new(Limits::default());
    owner.seq(c::create("alice", "g", "", &["bob", "carol"], false));
    let id = c::group("alice", "g");
    for number in 0..10 {
        owner.seq(c::send("alice", &format!("k{number}"), &id, "hi"));
    }
    (owner, id)
}

#[test]
fn cursor_counts_before_it_is_logged_and_after() {
    let (mut owner, id) = group();
    assert_eq!(cursors(&owner, "bob", "phone"), (0, 0, 10));
    let positions = owner.partition.position();
    for seq in 1..=7 {
        let noted = owner
            .partition
            .note_cursor(&c::ack("bob", "phone", &id, seq));
        assert_eq!(noted, Ok(Noted::Counts));
        owner
            .partition
            .note_cursor(&c::read("bob", &id, seq))
            .expect("a member");
    }
    assert_eq!(cursors(&owner, "bob", "phone"), (7, 7, 4));
    assert_eq!(
        owner.partition.position(),
        positions,
        "nothing is logged yet"
    );
    assert_eq!(log_cursors(&mut owner), 1, "14 steps are one command");
    assert_eq!(owner.partition.position(), positions + 1);
    assert_eq!(cursors(&owner, "bob", "phone"), (7, 7, 4));
    assert_eq!(owner.partition.cursors_waiting(), 0);
    let reopened = owner.reopened().expect("our own log");
    assert_eq!(reopened.partition.dump(), owner.partition.dump());
    assert_eq!(cursors(&reopened, "bob", "phone"), (7, 7, 4));
}

#[test]
fn a_thousand_members_who_read_and_acknowledge_are_one_command() {
    let mut owner = Owner::new(Limits::default());
    let names: Vec<String> = (0..1_000).map(|n| format!("member-{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    owner.seq(c::create("alice", "g", "", &names, false));
    let id = c::group("alice", "g");
    let seq = owner.seq(c::send("alice", "k", &id, "to all"));
    let positions = owner.partition.position();
    for name in &names {
        owner
            .partition
            .note_cursor(&c::ack(name, "phone", &id, seq))
            .expect("a member");
        owner
            .partition
            .note_cursor(&c::read(name, &id, seq))
            .expect("a member");
    }
    assert_eq!(log_cursors(&mut owner), 1);
    assert_eq!(owner.partition.position(), positions + 1);
    let bytes = owner.log.last().map_or(0, |batch| batch.payload.len());
    assert!(bytes < 1_000 * 40, "{bytes} bytes");
    let counts = owner.partition.receipt_counts(who("alice"), &id, seq);
    let all = ReceiptCounts {
        seq,
        delivered: 1_000,
        read: 1_000,
        members: 1_000,
    };
    assert_eq!(counts, Ok(all));
    assert!(
        owner
            .partition
            .take_receipts(500)
            .iter()
            .all(|r| *r.to == [r.user.clone()])
    );
}

#[test]
fn nobody_has_more_than_there_is_or_than_was_shown_to_him() {
    let (mut owner, id) = group();
    let head = 11;
    let noted = owner.partition.note_cursor(&c::read("bob", &id, 99));
    assert_eq!(noted, Ok(Noted::Clamped));
    assert_eq!(cursors(&owner, "bob", "").0, head);
    owner.seq(c::remove("alice", "r", &id, &["carol"]));
    owner.seq(c::send("alice", "later", &id, "not for carol"));
    owner
        .partition
        .note_cursor(&c::read("carol", &id, 99))
        .expect("was a member");
    owner.seq(c::add("alice", "a", &id, &["carol"]));
    assert_eq!(
        cursors(&owner, "carol", "").0,
        head + 1,
        "her removal was the last she saw"
    );
    let stranger = owner.partition.note_cursor(&c::read("eve", &id, 1));
    assert_eq!(stranger, Err(Refused::NotAMember));
    let send = owner
        .partition
        .note_cursor(&c::send("bob", "", &id, "no cursor"));
    assert_eq!(send, Err(Refused::Malformed));
}

#[test]
fn own_messages_are_not_unread_and_neither_are_events() {
    let (mut owner, id) = group();
    owner.seq(c::send("bob", "b", &id, "mine"));
    assert_eq!(cursors(&owner, "bob", "").2, 0);
    assert_eq!(cursors(&owner, "carol", "").2, 11);
    owner.seq(c::add("alice", "a", &id, &["dan"]));
    assert_eq!(cursors(&owner, "bob", "").2, 0);
    owner.seq(c::send("alice", "z", &id, "news"));
    assert_eq!(cursors(&owner, "bob", "").2, 1);
    assert_eq!(cursors(&owner, "dan", "").2, 1);
}

#[test]
fn senders_are_told_once_what_several_steps_came_to() {
    let (mut owner, id) = group();
    assert!(!owner.partition.has_receipts());
    for seq in [3, 9, 5] {
        owner
            .partition
            .note_cursor(&c::ack("bob", "phone", &id, seq))
            .expect("a member");
    }
    owner
        .partition
        .note_cursor(&c::read("bob", &id, 4))
        .expect("a member");
    let receipts = owner.partition.take_receipts(500);
    let [receipt] = &receipts[..] else {
        panic!("{receipts:?}")
    };
    assert_eq!((receipt.delivered_seq, receipt.read_seq), (9, 4));
    let to: Vec<&str> = receipt.to.iter().map(|user| &**user).collect();
    assert_eq!(
        to,
        ["bob", "alice"],
        "his own devices, for he read, and who sent something"
    );
    assert!(owner.partition.take_receipts(500).is_empty());
    // Another device that is behind changes nothing for the sender.
    owner
        .partition
        .note_cursor(&c::ack("bob", "tablet", &id, 8))
        .expect("a member");
    assert!(owner.partition.take_receipts(500).is_empty());
    // Carol has sent nothing: nobody but alice is told of dan.
    owner
        .partition
        .note_cursor(&c::ack("carol", "x", &id, 2))
        .expect("a member");
    let told: Vec<Receipt> = owner.partition.take_receipts(2);
    assert!(told.is_empty(), "three members are more than two: {told:?}");
}

#[test]
fn counts_leave_the_sender_out_and_take_a_later_message_for_reading() {
    let (mut owner, id) = group();
    owner
        .partition
        .note_cursor(&c::ack("bob", "phone", &id, 5))
        .expect("a member");
    let counts = |owner: &Owner, seq| {
        let counts = owner
            .partition
            .receipt_counts(who("alice"), &id, seq)
            .expect("a member");
        (counts.delivered, counts.read, counts.members)
    };
    assert_eq!(counts(&owner, 5), (1, 0, 2));
    assert_eq!(counts(&owner, 6), (0, 0, 2));
    owner.seq(c::send("carol", "c", &id, "seen"));
    assert_eq!(counts(&owner, 6), (1, 1, 2));
    assert_eq!(counts(&owner, 12), (0, 0, 2), "carol's own");
    let foreign = owner.partition.receipt_counts(who("eve"), &id, 1);
    assert_eq!(foreign, Err(Refused::NotAMember));
    owner.seq(c::add("alice", "a", &id, &["dan"]));
    let unseen = owner.partition.receipt_counts(who("dan"), &id, 1);
    assert_eq!(unseen, Err(Refused::NoSuchMessage));
    assert_eq!(counts(&owner, 6).2, 2, "dan did not get it");
}

#[test]
fn a_command_that_fails_is_made_again_with_what_came_meanwhile() {
    let (mut owner, id) = group();
    owner
        .partition
        .note_cursor(&c::read("bob", &id, 3))
        .expect("a member");
    let lost = owner.partition.take_cursors(9).expect("dirty");
    assert!(owner.partition.take_cursors(9).is_none(), "one at a time");
    owner.fail(&[lost], support::Until::Finished);
    owner
        .partition
        .note_cursor(&c::read("bob", &id, 5))
        .expect("a member");
    owner.partition.cursors_lost();
    assert_eq!(cursors(&owner, "bob", "").0, 5);
    assert_eq!(log_cursors(&mut owner), 1);
    let reopened = owner.reopened().expect("our own log");
    assert_eq!(cursors(&reopened, "bob", "").0, 5);
}

#[derive(Debug, Clone)]
enum Step {
    Ack(usize, usize, u64),
    Read(usize, u64),
    /// Commands of so many users; whether the last of them is logged.
    Log(usize, bool),
    /// What is not logged is forgotten.
    Crash,
    Send(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3usize, 0..2usize, 0..16u64).prop_map(|(u, d, seq)| Step::Ack(u, d, seq)),
        6 => (0..3usize, 0..16u64).prop_map(|(u, seq)| Step::Read(u, seq)),
        2 => (1..3usize, any::<bool>()).prop_map(|(most, logged)| Step::Log(most, logged)),
        1 => Just(Step::Crash),
        1 => (0..3usize).prop_map(Step::Send),
    ];
    prop::collection::vec(step, 1..60)
}

const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// Cursors by user and device; a read has no device.
type Model = BTreeMap<(usize, Option<usize>), u64>;

fn take(model: &mut Model, key: (usize, Option<usize>), seq: u64) {
    let cursor = model.entry(key).or_default();
    *cursor = seq.max(*cursor);
}

fn check(owner: &Owner, model: &Model, messages: &[u64]) {
    for (user, name) in USERS.iter().enumerate() {
        let of = |device| model.get(&(user, device)).copied().unwrap_or(0);
        for device in 0..2 {
            let found = summary(owner, name, &format!("d{device}"));
            assert_eq!(
                (found.read_seq, found.acked_seq),
                (of(None), of(Some(device)))
            );
            let seen = of(None).max(messages[user]);
            let unread = found.seq - 1 - seen.saturating_sub(1);
            assert_eq!(found.unread, unread, "{name} of {}", found.seq);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// In whatever order and however often cursors come, and whatever becomes of the commands that
    /// log them: each is the highest that was said, and after a crash the highest that was logged.
    #[test]
    fn cursors_are_maxima_of_what_was_said(steps in steps()) {
        let (mut owner, id) = group();
        let mut said = Model::new();
        let mut logged = Model::new();
        let mut sent = [11, 1, 1];
        for step in steps {
            let head = summary(&owner, "bob", "").seq;
            match step {
                Step::Ack(user, device, seq) => {
                    let device_name = format!("d{device}");
                    let command = c::ack(USERS[user], &device_name, &id, seq);
                    owner.partition.note_cursor(&command).expect("a member");
                    take(&mut said, (user, Some(device)), seq.min(head));
                }
                Step::Read(user, seq) => {
                    owner.partition.note_cursor(&c::read(USERS[user], &id, seq)).expect("a member");
                    take(&mut said, (user, None), seq.min(head));
                }
                Step::Log(most, survives) => {
                    let Some(command) = owner.partition.take_cursors(most) else { continue };
                    if survives {
                        prop_assert_eq!(owner.one(command), Outcome::Acked);
                        owner.partition.cursors_logged();
                        let reopened = owner.reopened().expect("our own log");
                        logged.clear();
                        for (user, name) in USERS.iter().enumerate() {
                            for device in 0..2 {
                                let found = summary(&reopened, name, &format!("d{device}"));
                                take(&mut logged, (user, None), found.read_seq);
                                take(&mut logged, (user, Some(device)), found.acked_seq);
                            }
                        }
                    } else {
                        owner.fail(&[command], support::Until::Finished);
                        owner.partition.cursors_lost();
                    }
                }
                Step::Crash => {
                    owner = owner.reopened().expect("our own log");
                    for (key, seq) in &logged {
                        prop_assert!(said.get(key).copied().unwrap_or(0) >= *seq, "never more than was said");
                    }
                    said.clone_from(&logged);
                }
                Step::Send(user) => {
                    sent[user] = owner.seq(c::send(USERS[user], "", &id, "hi"));
                }
            }
            check(&owner, &said, &sent);
        }
        log_cursors(&mut owner);
        let reopened = owner.reopened().expect("our own log");
        check(&reopened, &said, &sent);
        prop_assert_eq!(reopened.partition.dump(), owner.partition.dump());
    }
}

#[test]
fn device_that_comes_back_before_its_first_ack_is_logged_goes_on_behind_it() {
    let (mut owner, id) = group();
    let missed = |owner: &Owner| {
        let page = owner
            .partition
            .catch_up(who("bob"), "phone", CatchUpFrom::Device, 99, 99_999, 0)
            .expect("memory");
        page.rows.len()
    };
    assert_eq!(
        missed(&owner),
        0,
        "a device that never acked starts from now"
    );
    let ack = c::ack("bob", "phone", &id, 8);
    owner.partition.note_cursor(&ack).expect("a member");
    owner.seq(c::send("alice", "k-late", &id, "hi"));
    assert_eq!(missed(&owner), 4);
    log_cursors(&mut owner);
    assert_eq!(missed(&owner), 4, "logged, the same");
}
