//! What the server says itself: to everybody, to a list, into groups that it is not in.

mod support;

use imfast_partition::{CatchUpFrom, Limits, Outcome, Refused, Who, Window};
use imfast_wire::frames::id::{EVERYBODY, list_conversation};
use imfast_wire::protobuf::put_number;
use support::commands::{ack, add, create, direct, group, read, remove, send, tell};
use support::{Owner, TENANT, text_of, who};

const ALL: usize = usize::MAX;

fn owner() -> Owner {
    Owner::new(Limits::default())
}

/// The same command, by the server.
fn by_server(mut command: Vec<u8>) -> Vec<u8> {
    put_number(&mut command, 7, 1);
    command
}

fn to_all(key: &str, text: &str) -> Vec<u8> {
    by_server(send("system", key, EVERYBODY, text))
}

fn missed(owner: &Owner, user: &str, device: &str, from: CatchUpFrom) -> Vec<String> {
    let page = owner
        .partition
        .catch_up(who(user), device, from, ALL, ALL, 0)
        .expect("memory");
    assert!(page.complete);
    page.rows.iter().map(|row| text_of(&row.row)).collect()
}

#[test]
fn a_broadcast_is_one_row_that_everybody_catches_up_with_and_can_read() {
    let mut owner = owner();
    owner.seq(tell("alice", "", "bob", "hi"));
    let position = owner.partition.position();
    assert_eq!(owner.seq(to_all("k", "one")), 1);
    assert_eq!(owner.seq(to_all("k", "one")), 1);
    assert_eq!(owner.seq(to_all("", "two")), 2);
    assert_eq!(owner.partition.position(), position + 2);
    for user in ["alice", "bob", "nobody yet"] {
        let from = CatchUpFrom::Position(position);
        assert_eq!(
            missed(&owner, user, "d", from),
            ["system: one", "system: two"]
        );
        assert_eq!(owner.seen_seqs(user, EVERYBODY), [1, 2]);
        let page = owner
            .partition
            .conversations(who(user), "d", "", ALL, 0)
            .expect("memory");
        let last = page.items.last().expect("everybody's is listed");
        assert_eq!((&*last.conversation, last.seq), (EVERYBODY, 2));
        assert_eq!(last.unread, 2);
        assert_eq!(
            owner.partition.groups_of(who(user)),
            [std::sync::Arc::from(EVERYBODY)]
        );
    }
}

#[test]
fn a_session_hears_of_the_first_broadcast_because_the_group_is_there_before_it() {
    let owner = owner();
    let groups = owner.partition.groups_of(who("alice"));
    assert_eq!(groups, [std::sync::Arc::from(EVERYBODY)]);
    assert!(missed(&owner, "alice", "d", CatchUpFrom::Device).is_empty());
}

#[test]
fn what_was_said_to_all_is_acknowledged_and_read_like_anything_else() {
    let mut owner = owner();
    owner.seq(to_all("", "one"));
    owner.seq(to_all("", "two"));
    assert_eq!(owner.one(ack("alice", "web", EVERYBODY, 1)), Outcome::Acked);
    assert_eq!(owner.one(read("alice", EVERYBODY, 2)), Outcome::Acked);
    assert_eq!(
        missed(&owner, "alice", "web", CatchUpFrom::Device),
        ["system: two"]
    );
    assert!(missed(&owner, "alice", "new", CatchUpFrom::Device).is_empty());
    let owner = owner.reopened().expect("the log can be read");
    let page = owner
        .partition
        .conversations(who("alice"), "web", "", ALL, 0)
        .expect("memory");
    let [all] = &page.items[..] else {
        panic!("one conversation")
    };
    assert_eq!((all.acked_seq, all.read_seq, all.unread), (1, 2, 0));
}

#[test]
fn nobody_but_the_server_speaks_in_a_broadcast() {
    let mut owner = owner();
    owner.seq(to_all("", "one"));
    owner.seq(tell("alice", "", "bob", "hi"));
    for user in ["alice", "stranger", "system"] {
        let refused = owner.refusal(send(user, "", EVERYBODY, "me too"));
        assert_eq!(refused, Refused::NotAllowed);
        let may = owner.partition.may_send(who(user), EVERYBODY);
        assert_eq!(may.err(), Some(Refused::NotAllowed));
    }
    let list = list_conversation(TENANT, "vips");
    let made = by_server(support::commands::create_as(
        "system",
        "vips",
        &list,
        &["alice", "bob"],
    ));
    assert_eq!(owner.seq(made.clone()), 1);
    assert_eq!(owner.seq(made), 1);
    assert_eq!(owner.seq(by_server(send("system", "", &list, "hi"))), 2);
    assert_eq!(
        owner.refusal(send("alice", "", &list, "hi")),
        Refused::NotAllowed
    );
    assert_eq!(
        owner.refusal(send("eve", "", &list, "hi")),
        Refused::NotAMember
    );
    assert_eq!(owner.seen_seqs("bob", &list), [1, 2]);
    assert_eq!(owner.seen("eve", &list), Err(Refused::NotAMember));
}

#[test]
fn the_server_speaks_in_and_changes_a_group_that_it_is_not_in() {
    let mut owner = owner();
    owner.seq(create("alice", "k", "team", &["bob", "carol"], false));
    let team = group("alice", "k");
    assert_eq!(
        owner.refusal(send("system", "", &team, "x")),
        Refused::NotAMember
    );
    assert_eq!(owner.seq(by_server(send("system", "k", &team, "hi"))), 2);
    assert_eq!(owner.seq(by_server(send("system", "k", &team, "hi"))), 2);
    assert_eq!(owner.seq(by_server(add("system", "", &team, &["dan"]))), 3);
    // The owner goes; who has been there for longest follows.
    assert_eq!(
        owner.seq(by_server(remove("system", "", &team, &["alice"]))),
        4
    );
    let server = Who {
        by_server: true,
        ..who("system")
    };
    let members = owner
        .partition
        .members(server, &team, "", ALL)
        .expect("all");
    let of = |name: &str| members.members.iter().find(|one| &*one.user == name);
    assert_eq!(of("bob").map(|one| one.role.name()), Some("owner"));
    assert!(of("alice").is_none() && of("system").is_none() && of("dan").is_some());
    let page = owner
        .partition
        .history(server, &team, Window::Latest, ALL, ALL, 0)
        .expect("memory");
    assert_eq!(page.rows.len(), 4);
    assert_eq!(text_of(&page.rows[1].row), "system: hi");
    let again = owner.reopened().expect("the log can be read");
    assert_eq!(again.partition.dump(), owner.partition.dump());
}

#[test]
fn a_refused_command_of_the_server_leaves_no_trace() {
    let mut owner = owner();
    owner.seq(tell("alice", "", "bob", "hi"));
    let before = owner.partition.dump();
    for (command, refused) in [
        (send("system", "", "g.none", "x"), Refused::NotAMember),
        (add("system", "", "g.none", &["a"]), Refused::NotAMember),
        (
            add("system", "", &direct("alice", "bob"), &["a"]),
            Refused::NotAMember,
        ),
    ] {
        assert_eq!(owner.refusal(by_server(command)), refused);
    }
    assert_eq!(owner.partition.dump(), before);
}
