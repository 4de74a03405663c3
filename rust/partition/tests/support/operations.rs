//! Random commands in random batches.

use proptest::prelude::*;

use super::Until;
use super::commands as c;
use super::model::{Op, Place, User, name};

pub const USERS: usize = 5;
pub const WINDOW_MS: u64 = 60;

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        1 => (0..USERS, 0..USERS).prop_map(|(a, b)| Place::Direct(a.min(b), a.max(b))),
        4 => (0..2usize, 0..2usize).prop_map(|(creator, key)| Place::Group(creator, key)),
    ]
}

fn users() -> impl Strategy<Value = Vec<User>> {
    prop::collection::vec(0..USERS, 0..4)
}

pub fn op() -> impl Strategy<Value = Op> {
    let (user, key, text) = (0..USERS, 0..3usize, 0..2usize);
    prop_oneof![
        3 => (user.clone(), 0..USERS, key.clone(), text.clone())
            .prop_map(|(user, peer, key, text)| Op::Tell { user, peer, key, text }),
        6 => (user.clone(), place(), key.clone(), text)
            .prop_map(|(user, place, key, text)| Op::Send { user, place, key, text }),
        4 => (0..2usize, 0..2usize, 0..2usize, users(), prop::bool::weighted(0.7)).prop_map(
            |(user, key, title, members, open)| Op::Create { user, key, title, members, open }),
        3 => (user.clone(), place(), key.clone())
            .prop_map(|(user, place, key)| Op::Join { user, place, key }),
        2 => (user.clone(), place(), key.clone())
            .prop_map(|(user, place, key)| Op::Leave { user, place, key }),
        3 => (user.clone(), place(), key.clone(), users())
            .prop_map(|(user, place, key, users)| Op::Add { user, place, key, users }),
        2 => (user.clone(), place(), key, users())
            .prop_map(|(user, place, key, users)| Op::Remove { user, place, key, users }),
        2 => (user.clone(), place(), 0..2usize, 0..9u64)
            .prop_map(|(user, place, device, seq)| Op::Ack { user, place, device, seq }),
        1 => (user, place(), 0..9u64).prop_map(|(user, place, seq)| Op::Read { user, place, seq }),
    ]
}

#[derive(Debug, Clone)]
pub struct Step {
    pub ops: Vec<Op>,
    /// Batches that fail before this one; without commands of their own, they are this one.
    pub failures: Vec<(Until, Vec<Op>)>,
    pub elapsed_ms: u64,
    pub restart: bool,
}

pub fn step() -> impl Strategy<Value = Step> {
    let until = prop_oneof![
        Just(Until::Begun),
        Just(Until::Numbered),
        Just(Until::Finished)
    ];
    let failures = prop::collection::vec((until, prop::collection::vec(op(), 0..6)), 0..2);
    (
        prop::collection::vec(op(), 1..12),
        failures,
        0..40u64,
        prop::bool::weighted(0.2),
    )
        .prop_map(|(ops, failures, elapsed_ms, restart)| Step {
            ops,
            failures,
            elapsed_ms,
            restart,
        })
}

fn key_text(key: usize) -> String {
    if key == 0 {
        String::new()
    } else {
        format!("k{key}")
    }
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

pub fn encode(op: &Op) -> Vec<u8> {
    let names = |users: &[User]| users.iter().map(|&user| name(user)).collect::<Vec<_>>();
    match op {
        Op::Tell {
            user,
            peer,
            key,
            text,
        } => c::tell(
            &name(*user),
            &key_text(*key),
            &name(*peer),
            &format!("t{text}"),
        ),
        Op::Send {
            user,
            place,
            key,
            text,
        } => c::send(
            &name(*user),
            &key_text(*key),
            &place.id(),
            &format!("t{text}"),
        ),
        Op::Create {
            user,
            key,
            title,
            members,
            open,
        } => {
            let (key, title) = (format!("g{key}"), format!("title{title}"));
            c::create(&name(*user), &key, &title, &refs(&names(members)), *open)
        }
        Op::Join { user, place, key } => c::join(&name(*user), &key_text(*key), &place.id()),
        Op::Leave { user, place, key } => c::leave(&name(*user), &key_text(*key), &place.id()),
        Op::Add {
            user,
            place,
            key,
            users,
        } => c::add(
            &name(*user),
            &key_text(*key),
            &place.id(),
            &refs(&names(users)),
        ),
        Op::Remove {
            user,
            place,
            key,
            users,
        } => c::remove(
            &name(*user),
            &key_text(*key),
            &place.id(),
            &refs(&names(users)),
        ),
        Op::Ack {
            user,
            place,
            device,
            seq,
        } => c::ack(&name(*user), &format!("d{device}"), &place.id(), *seq),
        Op::Read { user, place, seq } => c::read(&name(*user), &place.id(), *seq),
    }
}
