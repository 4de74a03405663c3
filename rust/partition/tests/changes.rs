//! What becomes of a message after it was sent: recalled, edited, reacted to, expired. And what the
//! managers of a group may do.

mod support;

use std::sync::Arc;

use imfast_partition::{CatchUpFrom, Limits, Outcome, Refused, Role, RowKind, Window};
use imfast_wire::frames::row::{BodyView, EventView, MessageView};
use support::archive::TestArchive;
use support::commands as c;
use support::tiered::Tiered;
use support::{Owner, config, who};

const LONG: usize = usize::MAX;

/// A group of alice (its owner), bob and carol, in which bob said "hello" as number 2.
fn group() -> (Owner, String) {
    let mut owner = Owner::new(Limits::default());
    owner.seq(c::create("alice", "g", "", &["bob", "carol"], false));
    let id = c::group("alice", "g");
    assert_eq!(owner.seq(c::send("bob", "hello", &id, "hello")), 2);
    (owner, id)
}

fn rows(owner: &Owner, user: &str, id: &str, now_ms: u64) -> Vec<(RowKind, Arc<[u8]>)> {
    let page = owner
        .partition
        .history(who(user), id, Window::After(0), LONG, LONG, now_ms);
    let page = page.expect("readable");
    page.rows
        .into_iter()
        .map(|row| (row.kind, row.row))
        .collect()
}

/// The text of message `seq` as history shows it; none for a tombstone.
fn shown(owner: &Owner, id: &str, seq: u64, now_ms: u64) -> Option<String> {
    let (kind, row) = rows(owner, "alice", id, now_ms).swap_remove(seq as usize - 1);
    let body = match kind {
        RowKind::Message => {
            let view = MessageView::parse(&row).expect("a message");
            assert_eq!(view.seq, seq);
            view.body
        }
        RowKind::Event => EventView::parse(&row).expect("an event").body,
    };
    match body {
        Some(BodyView::Text(text)) => Some(text.to_owned()),
        Some(other) => panic!("{other:?}"),
        None => None,
    }
}

/// Everything that any reader gets, so that a body can be looked for in all of it.
fn everything(owner: &Owner, id: &str, now_ms: u64) -> Vec<u8> {
    let partition = &owner.partition;
    let mut all = Vec::new();
    for user in ["alice", "bob", "carol"] {
        for (_, row) in rows(owner, user, id, now_ms) {
            all.extend_from_slice(&row);
        }
        let from = CatchUpFrom::Position(0);
        let page = partition.catch_up(who(user), "d", from, LONG, LONG, now_ms);
        for row in page.expect("readable").rows {
            all.extend_from_slice(&row.row);
        }
        let page = partition.conversations(who(user), "", "", 9, now_ms);
        for item in page.expect("readable").items {
            all.extend_from_slice(&item.last.expect("rows").row);
        }
    }
    let page = partition
        .deliveries_after(0, LONG, now_ms)
        .expect("readable");
    for delivery in page.deliveries {
        all.extend_from_slice(&delivery.row);
    }
    all
}

fn contains(all: &[u8], text: &str) -> bool {
    all.windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// The same owner after a replay of its log, and after restarts from archives that hold all rows.
fn lives(owner: &Owner) -> Vec<Tiered> {
    let archive = Arc::new(TestArchive::default());
    let mut tiered = Tiered::open(config(Limits::default()), archive, &owner.log);
    tiered.time_ms = owner.time_ms;
    assert_eq!(tiered.partition.dump(), owner.partition.dump());
    tiered.archive_all();
    let mut restarted = Tiered::open(
        config(Limits::default()),
        tiered.archive.clone(),
        &owner.log,
    );
    restarted.time_ms = owner.time_ms;
    vec![tiered, restarted]
}

#[test]
fn recalled_message_is_a_tombstone_for_everybody_and_keeps_its_number() {
    let (mut owner, id) = group();
    let event = owner.commit(&[c::recall("bob", "r", &id, 2)]);
    let delivery = &event.deliveries[0];
    assert_eq!((delivery.seq, delivery.kind), (3, RowKind::Event));
    assert_eq!(delivery.change, None, "nobody comes or goes");
    let view = EventView::parse(&delivery.row).expect("an event");
    assert_eq!((view.kind, view.by, view.ref_seq), ("recalled", "bob", 2));
    assert_eq!(shown(&owner, &id, 2, 0), None);
    assert!(!contains(&everything(&owner, &id, 0), "hello"));
    for life in lives(&owner) {
        assert_eq!(life.partition.dump(), owner.partition.dump());
        assert!(!contains(&everything(&life, &id, 0), "hello"));
        assert_eq!(shown(&life, &id, 2, 0), None);
    }
}

#[test]
fn author_and_managers_recall_and_only_the_author_edits() {
    let (mut owner, id) = group();
    assert_eq!(
        owner.refusal(c::recall("carol", "", &id, 2)),
        Refused::NotAllowed
    );
    assert_eq!(
        owner.refusal(c::edit("alice", "", &id, 2, "x")),
        Refused::NotAllowed
    );
    assert_eq!(
        owner.refusal(c::recall("eve", "", &id, 2)),
        Refused::NotAMember
    );
    for seq in [0, 1, 9] {
        // An event, and numbers that nobody has.
        assert_eq!(
            owner.refusal(c::recall("alice", "", &id, seq)),
            Refused::NoSuchMessage
        );
    }
    owner.seq(c::add("alice", "a", &id, &["dan"]));
    assert_eq!(
        owner.refusal(c::react("dan", "", &id, 2, "+")),
        Refused::NoSuchMessage,
        "he did not see it"
    );
    assert_eq!(owner.seq(c::recall("alice", "", &id, 2)), 4);
    assert_eq!(
        owner.refusal(c::recall("bob", "", &id, 2)),
        Refused::NoSuchMessage
    );
    assert_eq!(
        owner.refusal(c::edit("bob", "", &id, 2, "x")),
        Refused::NoSuchMessage
    );
    let direct = c::direct("alice", "bob");
    owner.seq(c::tell("alice", "", "bob", "mine"));
    assert_eq!(
        owner.refusal(c::recall("bob", "", &direct, 1)),
        Refused::NotAllowed
    );
    assert_eq!(owner.seq(c::react("bob", "", &direct, 1, "+")), 2);
    assert_eq!(owner.seq(c::recall("alice", "", &direct, 1)), 3);
}

#[test]
fn change_that_is_repeated_takes_effect_once() {
    let (mut owner, id) = group();
    let first = owner.one(c::recall("bob", "r", &id, 2));
    let Outcome::Sent {
        seq: 3,
        duplicate: false,
        ..
    } = first
    else {
        panic!("{first:?}")
    };
    let again = owner.one(c::recall("bob", "r", &id, 2));
    let Outcome::Sent {
        seq: 3,
        duplicate: true,
        ..
    } = again
    else {
        panic!("{again:?}")
    };
    assert_eq!(
        owner.refusal(c::recall("bob", "r", &id, 3)),
        Refused::Conflict
    );
    assert_eq!(
        owner.refusal(c::send("bob", "r", &id, "same key")),
        Refused::Conflict
    );
}

#[test]
fn edited_message_shows_the_latest_body_and_no_earlier_one() {
    let (mut owner, id) = group();
    assert_eq!(owner.seq(c::edit("bob", "1", &id, 2, "second")), 3);
    assert_eq!(shown(&owner, &id, 2, 0).as_deref(), Some("second"));
    assert_eq!(
        shown(&owner, &id, 3, 0).as_deref(),
        Some("second"),
        "the event has it too"
    );
    assert_eq!(owner.seq(c::edit("bob", "2", &id, 2, "third")), 4);
    let (_, row) = rows(&owner, "carol", &id, 0).swap_remove(1);
    let view = MessageView::parse(&row).expect("a message");
    assert_eq!((view.from, view.edited_seq), ("bob", 4));
    let lives = lives(&owner);
    for life in [&owner].into_iter().chain(lives.iter().map(|life| &**life)) {
        let all = everything(life, &id, 0);
        assert!(contains(&all, "third"));
        assert!(!contains(&all, "hello") && !contains(&all, "second"));
    }
    owner.seq(c::recall("bob", "3", &id, 2));
    assert!(!contains(&everything(&owner, &id, 0), "third"));
    // A recall and an edit in one batch: what was recalled does not come back.
    let seq = owner.seq(c::send("bob", "n", &id, "again"));
    owner.run(&[
        c::recall("bob", "", &id, seq),
        c::edit("bob", "", &id, seq, "undead"),
    ]);
    let all = everything(&owner, &id, 0);
    assert!(!contains(&all, "again") && !contains(&all, "undead"));
    let reopened = owner.reopened().expect("our own log");
    assert_eq!(reopened.partition.dump(), owner.partition.dump());
}

#[test]
fn change_of_a_batch_that_fails_leaves_no_trace() {
    let (mut owner, id) = group();
    for until in [
        support::Until::Begun,
        support::Until::Numbered,
        support::Until::Finished,
    ] {
        owner.fail(&[c::recall("bob", "r", &id, 2)], until);
        owner.fail(&[c::edit("bob", "e", &id, 2, "x")], until);
        owner.fail(&[c::mute("alice", "m", &id, &["bob"], true)], until);
    }
    assert_eq!(shown(&owner, &id, 2, 0).as_deref(), Some("hello"));
    assert_eq!(owner.seq(c::recall("bob", "r", &id, 2)), 3);
}

#[test]
fn nobody_sees_the_body_of_a_message_that_expired_also_after_a_restart() {
    let (mut owner, id) = group();
    let sent_ms = owner.time_ms;
    let seq = owner.seq(c::mortal("bob", "m", &id, "for a while", 1_000));
    assert_eq!(owner.seq(c::edit("bob", "e", &id, seq, "for the rest")), 4);
    let end_ms = sent_ms + 1_000;
    let lives = lives(&owner);
    for life in [&owner].into_iter().chain(lives.iter().map(|life| &**life)) {
        let before = everything(life, &id, end_ms - 1);
        assert!(contains(&before, "for the rest") && !contains(&before, "for a while"));
        let after = everything(life, &id, end_ms);
        assert!(!contains(&after, "for the rest") && !contains(&after, "for a while"));
        assert!(contains(&after, "hello"), "others stay");
        assert_eq!(rows(life, "carol", &id, end_ms).len(), 4, "numbers stay");
    }
    // A message of later: the clock of the log has passed the end, whatever the reader's says.
    owner.time_ms = end_ms + 5;
    owner.seq(c::send("carol", "", &id, "later"));
    assert!(!contains(&everything(&owner, &id, 0), "for the rest"));
    assert_eq!(
        owner.refusal(c::react("carol", "", &id, seq, "+")),
        Refused::NoSuchMessage
    );
    // A late retry finds the first result.
    let again = owner.one(c::mortal("bob", "m", &id, "for a while", 1_000));
    assert!(
        matches!(
            again,
            Outcome::Sent {
                seq: 3,
                duplicate: true,
                ..
            }
        ),
        "{again:?}"
    );
}

#[test]
fn delivery_that_comes_too_late_is_a_tombstone() {
    let (mut owner, id) = group();
    let (alive, dead) = (owner.time_ms + 9, owner.time_ms + 10);
    for (now_ms, body) in [(alive, true), (dead, false)] {
        let committed = owner.commit_at(&[c::mortal("bob", "", &id, "short", 10)], now_ms);
        assert_eq!(contains(&committed.deliveries[0].row, "short"), body);
    }
}

#[test]
fn owner_gives_roles_and_managers_mute_those_below() {
    let (mut owner, id) = group();
    let role = |owner: &Owner, user: &str| {
        let page = owner
            .partition
            .members(who("alice"), &id, "", 99)
            .expect("a member");
        let found = page
            .members
            .into_iter()
            .find(|member| &*member.user == user);
        found.map(|member| member.role)
    };
    assert_eq!(
        owner.refusal(c::role("bob", "", &id, &["bob"], "admin")),
        Refused::NotAllowed
    );
    let event = owner.commit(&[c::role("alice", "k", &id, &["bob", "eve"], "admin")]);
    let view = EventView::parse(&event.deliveries[0].row).expect("an event");
    assert_eq!(
        (view.kind, view.role, view.users().collect::<Vec<_>>()),
        ("role", "admin", vec!["bob"])
    );
    assert_eq!(event.deliveries[0].change, None, "nobody comes or goes");
    assert_eq!(role(&owner, "bob"), Some(Role::Admin));
    assert_eq!(
        owner.refusal(c::mute("bob", "", &id, &["alice"], true)),
        Refused::NotAllowed
    );
    assert_eq!(owner.seq(c::mute("bob", "", &id, &["carol"], true)), 4);
    assert_eq!(
        owner.refusal(c::send("carol", "", &id, "no")),
        Refused::NotAllowed
    );
    assert_eq!(
        owner.refusal(c::react("carol", "", &id, 2, "+")),
        Refused::NotAllowed
    );
    // Coming back does not help.
    owner.seq(c::leave("carol", "", &id));
    owner.seq(c::add("bob", "", &id, &["carol"]));
    assert_eq!(
        owner.refusal(c::send("carol", "", &id, "no")),
        Refused::NotAllowed
    );
    for life in lives(&owner) {
        assert_eq!(life.partition.dump(), owner.partition.dump());
    }
    let outcomes = owner.run(&[
        c::mute("bob", "", &id, &["carol"], false),
        c::send("carol", "x", &id, "in the same batch"),
    ]);
    assert!(
        matches!(outcomes[1], Outcome::Sent { seq: 8, .. }),
        "{outcomes:?}"
    );
    assert_eq!(owner.seq(c::role("alice", "", &id, &["carol"], "owner")), 9);
    assert_eq!(role(&owner, "carol"), Some(Role::Owner));
    assert_eq!(role(&owner, "alice"), Some(Role::Admin));
    assert_eq!(
        owner.refusal(c::role("alice", "", &id, &["bob"], "member")),
        Refused::NotAllowed
    );
    let reopened = owner.reopened().expect("our own log");
    assert_eq!(reopened.partition.dump(), owner.partition.dump());
}

#[test]
fn managers_change_title_and_openness() {
    let (mut owner, id) = group();
    assert_eq!(owner.refusal(c::join("eve", "", &id)), Refused::NotAMember);
    assert_eq!(
        owner.refusal(c::settings("bob", "", &id, Some("x"), None)),
        Refused::NotAllowed
    );
    let outcomes = owner.run(&[
        c::settings("alice", "", &id, Some("news"), Some(true)),
        c::join("eve", "", &id),
    ]);
    assert!(
        matches!(outcomes[1], Outcome::Group { seq: 4, .. }),
        "{outcomes:?}"
    );
    let listed = owner
        .partition
        .conversations(who("eve"), "", "", 9, 0)
        .expect("memory");
    assert_eq!(&*listed.items[0].title, "news");
    let unchanged = owner.one(c::settings("alice", "", &id, Some("news"), None));
    assert!(
        matches!(unchanged, Outcome::Group { seq: 4, .. }),
        "{unchanged:?}"
    );
    let long = "t".repeat(257);
    assert_eq!(
        owner.refusal(c::settings("alice", "", &id, Some(&long), None)),
        Refused::TooLarge
    );
    let again = owner.one(c::create("alice", "g", "", &["bob", "carol"], false));
    assert!(matches!(again, Outcome::Group { seq: 1, .. }), "{again:?}");
    for life in lives(&owner) {
        assert_eq!(life.partition.dump(), owner.partition.dump());
    }
}
