//! Groups, rule by rule.

mod support;

use std::sync::Arc;

use imfast_partition::{Audience, Limits, Outcome, Refused, Role, RowKind};
use imfast_wire::rate::Rate;
use support::commands::{ack, add, create, direct, group, join, leave, remove, send, tell};
use support::{Owner, text_of, who};

fn owner() -> Owner {
    Owner::new(Limits::default())
}

fn team(open: bool) -> (Owner, String) {
    let mut owner = owner();
    assert_eq!(
        owner.seq(create("alice", "g", "team", &["bob", "carol"], open)),
        1
    );
    (owner, group("alice", "g"))
}

fn roles(owner: &Owner, asking: &str, id: &str) -> Vec<(String, Role)> {
    let page = owner
        .partition
        .members(who(asking), id, "", 100)
        .expect("a member asks");
    page.members
        .iter()
        .map(|member| (member.user.to_string(), member.role))
        .collect()
}

#[test]
fn creator_owns_the_group_and_everybody_named_is_in_once() {
    let mut owner = owner();
    let id = group("alice", "g");
    let committed = owner.commit(&[create(
        "alice",
        "g",
        "team",
        &["bob", "alice", "bob"],
        false,
    )]);
    let expected = [
        ("alice".to_owned(), Role::Owner),
        ("bob".to_owned(), Role::Member),
    ];
    assert_eq!(roles(&owner, "bob", &id), expected);
    let delivery = &committed.deliveries[0];
    assert_eq!(
        (delivery.kind, &delivery.audience),
        (RowKind::Event, &Audience::Group)
    );
    assert_eq!(text_of(&delivery.row), "alice created alice,bob");
    let change = delivery.change.as_ref().expect("a change");
    let both: Vec<Arc<str>> = vec!["alice".into(), "bob".into()];
    assert_eq!((&change.joined, change.told().count()), (&both, 2));
    let summary = &owner
        .partition
        .conversations(who("bob"), "", "", 1, 0)
        .expect("readable")
        .items[0];
    assert_eq!(
        (&*summary.title, summary.unread, summary.kind.name()),
        ("team", 0, "group")
    );
}

#[test]
fn retried_create_makes_one_group_and_another_title_is_a_conflict() {
    let mut owner = owner();
    let again = create("alice", "g", "team", &["bob"], false);
    let outcomes = owner.run(&[again.clone(), again.clone()]);
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(owner.seq(again), 1);
    let other = create("alice", "g", "other", &["bob"], false);
    assert_eq!(owner.refusal(other), Refused::Conflict);
    assert_eq!(
        (
            owner.partition.position(),
            owner.partition.conversation_count()
        ),
        (1, 1)
    );
}

#[test]
fn group_under_an_id_that_is_not_the_creators_is_refused() {
    let mut owner = owner();
    let mut command = create("alice", "g", "team", &[], false);
    let id = group("alice", "g");
    let at = command
        .windows(id.len())
        .position(|part| part == id.as_bytes())
        .expect("the id");
    command[at..at + id.len()].copy_from_slice(group("mallory", "g").as_bytes());
    assert_eq!(owner.refusal(command), Refused::WrongConversation);
    assert_eq!(
        owner.refusal(create("alice", "", "team", &[], false)),
        Refused::Malformed
    );
}

#[test]
fn limits_on_title_list_and_size_are_kept() {
    let limits = Limits {
        users_per_command_max: 2,
        group_members_max: 3,
        ..Limits::default()
    };
    let mut owner = Owner::new(limits);
    let id = group("alice", "g");
    let title = "x".repeat(257);
    assert_eq!(
        owner.refusal(create("alice", "g", &title, &[], false)),
        Refused::TooLarge
    );
    let many = create("alice", "g", "", &["b", "c", "d"], false);
    assert_eq!(owner.refusal(many), Refused::TooLarge);
    owner.one(create("alice", "g", &title[1..], &["b"], true));
    assert_eq!(
        owner.refusal(add("alice", "", &id, &["c", "d"])),
        Refused::GroupFull
    );
    owner.one(join("c", "", &id));
    let outcomes = owner.run(&[join("d", "", &id), leave("c", "", &id), join("e", "", &id)]);
    assert_eq!(outcomes[0], Outcome::Refused(Refused::GroupFull));
    assert!(matches!(outcomes[2], Outcome::Group { seq: 4, .. }));
}

#[test]
fn join_works_only_where_the_group_is_open() {
    let (mut owner, id) = team(false);
    assert_eq!(owner.refusal(join("dan", "", &id)), Refused::NotAMember);
    let (mut owner, id) = team(true);
    assert_eq!(owner.seq(join("dan", "", &id)), 2);
    assert_eq!(owner.seq(send("dan", "", &id, "hi")), 3);
}

#[test]
fn members_without_the_right_neither_add_nor_remove() {
    let (mut owner, id) = team(false);
    assert_eq!(
        owner.refusal(add("bob", "", &id, &["dan"])),
        Refused::NotAllowed
    );
    assert_eq!(
        owner.refusal(remove("bob", "", &id, &["carol"])),
        Refused::NotAllowed
    );
    assert_eq!(
        owner.refusal(remove("alice", "", &id, &["bob", "alice"])),
        Refused::NotAllowed
    );
    assert_eq!(
        owner.refusal(add("alice", "", &id, &[])),
        Refused::Malformed
    );
    assert_eq!(
        owner.refusal(add("alice", "", &id, &["a\0"])),
        Refused::Malformed
    );
    assert_eq!(owner.partition.position(), 1);
}

#[test]
fn direct_conversation_has_no_membership_commands() {
    let mut owner = owner();
    let id = direct("alice", "bob");
    owner.one(tell("alice", "", "bob", "hi"));
    for command in [
        leave("bob", "", &id),
        add("alice", "", &id, &["eve"]),
        join("bob", "", &id),
    ] {
        assert_eq!(owner.refusal(command), Refused::Malformed);
    }
    assert_eq!(owner.refusal(join("eve", "", &id)), Refused::NotAMember);
}

#[test]
fn change_without_effect_succeeds_at_the_head_and_is_not_logged() {
    let (mut owner, id) = team(true);
    owner.one(send("bob", "", &id, "hi"));
    for command in [
        add("alice", "k1", &id, &["bob", "carol"]),
        remove("alice", "k2", &id, &["nobody"]),
        join("carol", "k3", &id),
    ] {
        assert_eq!(owner.seq(command), 2);
    }
    let outcomes = owner.run(&[send("bob", "", &id, "3"), join("bob", "", &id)]);
    assert!(matches!(outcomes[1], Outcome::Group { seq: 3, .. }));
    assert_eq!(owner.partition.position(), 3);
}

#[test]
fn retried_change_gets_its_first_result_even_when_the_right_is_gone() {
    let (mut owner, id) = team(true);
    let batch = [
        leave("bob", "k", &id),
        leave("bob", "k", &id),
        send("carol", "", &id, "x"),
    ];
    let outcomes = owner.run(&batch);
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(owner.seq(leave("bob", "k", &id)), 2);
    assert_eq!(owner.refusal(join("bob", "k", &id)), Refused::Conflict);
    assert_eq!(
        owner.refusal(leave("bob", "other", &id)),
        Refused::NotAMember
    );
    let mut reopened = owner.reopened().expect("our own log");
    assert_eq!(reopened.seq(leave("bob", "k", &id)), 2);
    reopened.time_ms += Limits::default().command_window_ms;
    assert_eq!(
        reopened.refusal(leave("bob", "k", &id)),
        Refused::NotAMember
    );
}

#[test]
fn ownership_passes_to_the_longest_standing_member() {
    let (mut owner, id) = team(true);
    // Bob comes back, which makes carol the one who has been in for longest.
    owner.run(&[
        leave("bob", "", &id),
        join("bob", "", &id),
        leave("alice", "", &id),
    ]);
    let expected = [
        ("bob".to_owned(), Role::Member),
        ("carol".to_owned(), Role::Owner),
    ];
    assert_eq!(roles(&owner, "bob", &id), expected);
    owner.run(&[leave("carol", "", &id), remove("bob", "", &id, &["carol"])]);
    assert_eq!(roles(&owner, "bob", &id), [("bob".to_owned(), Role::Owner)]);
}

#[test]
fn of_equals_the_first_by_name_inherits() {
    let mut owner = owner();
    let id = group("alice", "g");
    owner.one(create("alice", "g", "", &["dan", "carol", "bob"], false));
    owner.one(leave("alice", "", &id));
    let roles = roles(&owner, "bob", &id);
    assert!(
        roles.contains(&("bob".to_owned(), Role::Owner)),
        "{roles:?}"
    );
}

#[test]
fn who_enters_an_empty_open_group_owns_it() {
    let mut owner = owner();
    let id = group("alice", "g");
    owner.run(&[create("alice", "g", "", &[], true), leave("alice", "", &id)]);
    owner.run(&[join("bob", "", &id), join("alice", "", &id)]);
    let expected = [
        ("alice".to_owned(), Role::Member),
        ("bob".to_owned(), Role::Owner),
    ];
    assert_eq!(roles(&owner, "bob", &id), expected);
    assert_eq!(owner.seq(remove("bob", "", &id, &["alice"])), 5);
}

#[test]
fn stay_shows_its_join_and_its_leave_and_nothing_outside() {
    let (mut owner, id) = team(true);
    owner.run(&[
        send("alice", "", &id, "2"),
        join("dan", "", &id),
        send("alice", "", &id, "4"),
        leave("dan", "", &id),
        send("alice", "", &id, "6"),
        join("dan", "", &id),
        send("alice", "", &id, "8"),
        remove("alice", "", &id, &["dan"]),
        send("alice", "", &id, "10"),
    ]);
    assert_eq!(owner.seen_seqs("dan", &id), [3, 4, 5, 7, 8, 9]);
    assert_eq!(owner.seen_seqs("bob", &id), (1..=10).collect::<Vec<_>>());
    assert!(
        owner
            .partition
            .conversations(who("dan"), "", "", 10, 0)
            .expect("readable")
            .items
            .is_empty()
    );
    // Everybody is in everybody's.
    assert_eq!(owner.partition.groups_of(who("dan")).len(), 1);
    assert_eq!(owner.partition.groups_of(who("bob")).len(), 2);
}

#[test]
fn leaving_and_removal_tell_those_who_go() {
    let (mut owner, id) = team(false);
    let committed = owner.commit(&[
        remove("alice", "", &id, &["bob", "nobody"]),
        add("alice", "", &id, &["dan", "bob"]),
        leave("dan", "", &id),
    ]);
    let told: Vec<_> = committed
        .deliveries
        .iter()
        .map(|delivery| {
            let change = delivery.change.as_ref().expect("a change");
            (
                text_of(&delivery.row),
                change.joined.len(),
                change.left.len(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("alice removed bob".to_owned(), 0, 1),
            ("alice joined dan,bob".to_owned(), 2, 0),
            ("dan left dan".to_owned(), 0, 1),
        ]
    );
}

#[test]
fn batch_in_flight_is_not_seen_by_queries() {
    let (mut owner, id) = team(true);
    let mut incoming = [
        send("bob", "", &id, "hi"),
        join("dan", "", &id),
        create("bob", "new", "", &["carol"], false),
        tell("bob", "", "carol", "hi"),
    ]
    .into_iter()
    .map(|command| imfast_partition::Incoming { command, origin: 0 })
    .collect();
    owner
        .partition
        .begin(owner.time_ms, &mut incoming, 9, 9_999);
    owner.sequencer.number(owner.partition.records_mut().0);
    for finished in [false, true] {
        if finished {
            owner.partition.finish().expect("numbered as agreed");
        }
        assert_eq!(owner.seen_seqs("bob", &id), [1]);
        assert!(owner.seen("dan", &id).is_err());
        assert_eq!(
            owner
                .partition
                .conversations(who("bob"), "", "", 9, 0)
                .expect("readable")
                .items
                .len(),
            1
        );
        for unborn in [group("bob", "new"), direct("bob", "carol")] {
            assert_eq!(owner.seen("carol", &unborn), Err(Refused::NotAMember));
            assert!(owner.partition.may_send(who("carol"), &unborn).is_err());
        }
    }
    owner.partition.commit();
    assert_eq!(owner.seen_seqs("bob", &id), [1, 2, 3]);
    assert_eq!(
        owner
            .partition
            .conversations(who("carol"), "", "", 9, 0)
            .expect("readable")
            .items
            .len(),
        3
    );
}

#[test]
fn ephemeral_sends_follow_the_committed_membership() {
    let (mut owner, id) = team(false);
    let may = |owner: &Owner, user: &str| {
        owner
            .partition
            .may_send(who(user), &id)
            .map(|target| target.audience)
    };
    assert_eq!(may(&owner, "bob"), Ok(Audience::Group));
    assert_eq!(may(&owner, "eve"), Err(Refused::NotAMember));
    let may_to = |peer: &str| {
        let conversation = direct("eve", peer);
        owner
            .partition
            .may_send_to_peer(who("eve"), peer, &conversation)
    };
    assert_eq!(may_to("bob"), Ok(()));
    assert_eq!(may_to("eve"), Err(Refused::Malformed));
    assert_eq!(may_to("a\u{7}"), Err(Refused::Malformed));
    owner.one(leave("bob", "", &id));
    assert_eq!(may(&owner, "bob"), Err(Refused::NotAMember));
}

#[test]
fn members_of_a_large_group_come_in_pages() {
    let mut owner = owner();
    let id = group("alice", "g");
    owner.one(create("alice", "g", "", &[], false));
    let names: Vec<_> = (0..950).map(|n| format!("u{n}")).collect();
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    owner.one(add("alice", "", &id, &all));
    owner.one(remove("alice", "", &id, &["u10", "u99"]));
    let (mut after, mut listed) = (String::new(), Vec::new());
    loop {
        let page = owner
            .partition
            .members(who("u0"), &id, &after, 100)
            .expect("in");
        listed.extend(page.members.iter().map(|member| member.user.to_string()));
        after = listed.last().expect("somebody").clone();
        if listed.len() == 100 {
            // Who ends one page may be gone when the next one is asked for.
            assert_eq!(page.seq, 3);
            owner.one(remove("alice", "", &id, &[&after]));
        }
        if !page.more {
            break;
        }
    }
    let gone = ["u10", "u99"];
    let expected: Vec<_> = core::iter::once("alice")
        .chain(all)
        .filter(|user| !gone.contains(user))
        .collect();
    assert_eq!(listed, expected);
}

#[test]
fn groups_rate_holds_for_its_members_writes_and_for_nothing_else() {
    let mut owner = Owner::new(Limits {
        group_rate: Rate::new(1, 2),
        ..Limits::default()
    });
    let id = group("alice", "g");
    assert_eq!(owner.seq(create("alice", "g", "title", &["bob"], true)), 1);
    let limited = |retry_after_ms| Refused::RateLimited { retry_after_ms };
    for _ in 0..3 {
        // Strangers take nothing from the members' bucket.
        assert_eq!(
            owner.refusal(send("eve", "", &id, "hi")),
            Refused::NotAMember
        );
    }
    assert_eq!(owner.seq(send("alice", "first", &id, "hi")), 2);
    assert_eq!(owner.seq(send("bob", "", &id, "hi")), 3);
    assert_eq!(owner.refusal(send("bob", "", &id, "more")), limited(1_000));
    assert_eq!(owner.refusal(send("bob", "k", &id, "more")), limited(1_000));
    assert_eq!(owner.refusal(leave("bob", "l", &id)), limited(1_000));
    assert_eq!(owner.seq(send("alice", "first", &id, "hi")), 2, "a retry");
    assert_eq!(owner.one(ack("bob", "phone", &id, 3)), Outcome::Acked);
    assert_eq!(owner.seq(tell("alice", "", "bob", "hi")), 1, "not a group");
    owner.time_ms += 999;
    assert_eq!(owner.refusal(send("bob", "k", &id, "more")), limited(1));
    owner.time_ms += 1;
    assert_eq!(
        owner.seq(send("bob", "k", &id, "more")),
        4,
        "nothing was kept of it"
    );

    // What was accepted once is accepted again, however fast it is read.
    let again = owner.reopened().expect("a good log");
    assert_eq!(again.partition.dump(), owner.partition.dump());
}
