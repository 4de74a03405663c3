//! The fold under lists of commands, batches and failures, with the plain sequencer that the
//! crate's own tests use: no panic, a failed batch leaves nothing behind, the log gives the same
//! state again.
#![no_main]

use arbitrary::Arbitrary;
use imfast_partition::Limits;
use libfuzzer_sys::fuzz_target;
use support::commands as make;
use support::{Owner, Until};

#[path = "../../partition/tests/support/mod.rs"]
mod support;

const USERS: [&str; 5] = ["alice", "bob", "carol", "dan", "eve"];

#[derive(Arbitrary, Debug)]
enum Operation {
    Batch(Vec<Command>),
    /// The log fails: everything is taken back.
    Fail {
        commands: Vec<Command>,
        until: u8,
    },
    Later {
        ms: u16,
    },
    Reopen,
}

#[derive(Arbitrary, Debug)]
enum Command {
    Tell {
        user: u8,
        peer: u8,
        key: u8,
    },
    Send {
        user: u8,
        key: u8,
        group: u8,
        content: Vec<u8>,
    },
    Create {
        user: u8,
        key: u8,
        members: u8,
        open: bool,
    },
    Join {
        user: u8,
        key: u8,
        group: u8,
    },
    Leave {
        user: u8,
        key: u8,
        group: u8,
    },
    Add {
        user: u8,
        key: u8,
        group: u8,
        members: u8,
    },
    Remove {
        user: u8,
        key: u8,
        group: u8,
        members: u8,
    },
    Ack {
        user: u8,
        group: u8,
        seq: u8,
    },
    Read {
        user: u8,
        group: u8,
        seq: u8,
    },
    Raw(Vec<u8>),
}

fuzz_target!(|operations: Vec<Operation>| {
    let limits = Limits {
        content_bytes_max: 64,
        group_members_max: 4,
        command_window_count: 4,
        ..Limits::default()
    };
    let mut owner = Owner::new(limits);
    for operation in operations.iter().take(64) {
        match operation {
            // The engine begins no empty batch.
            Operation::Batch(commands) | Operation::Fail { commands, .. }
                if commands.is_empty() => {}
            Operation::Batch(commands) => {
                owner.commit(&encode(commands));
            }
            Operation::Fail { commands, until } => {
                let until = match until % 3 {
                    0 => Until::Begun,
                    1 => Until::Numbered,
                    _ => Until::Finished,
                };
                owner.fail(&encode(commands), until);
            }
            Operation::Later { ms } => owner.time_ms += u64::from(*ms),
            Operation::Reopen => owner = reopened(&owner),
        }
    }
    reopened(&owner);
});

fn reopened(owner: &Owner) -> Owner {
    let again = match owner.reopened() {
        Ok(again) => again,
        Err(error) => panic!("what was accepted is refused: {error}"),
    };
    assert_eq!(again.partition.dump(), owner.partition.dump());
    again
}

fn encode(commands: &[Command]) -> Vec<Vec<u8>> {
    commands.iter().take(32).map(one).collect()
}

fn one(command: &Command) -> Vec<u8> {
    match command {
        Command::Tell { user, peer, key } => {
            make::tell(name(*user), &key_of(*key), name(*peer), "text")
        }
        Command::Send {
            user,
            key,
            group,
            content,
        } => make::send_content(name(*user), &key_of(*key), &group_of(*group), "", content),
        Command::Create {
            user,
            key,
            members,
            open,
        } => make::create(
            name(*user),
            &key_of(*key | 1),
            "title",
            &names(*members),
            *open,
        ),
        Command::Join { user, key, group } => {
            make::join(name(*user), &key_of(*key), &group_of(*group))
        }
        Command::Leave { user, key, group } => {
            make::leave(name(*user), &key_of(*key), &group_of(*group))
        }
        Command::Add {
            user,
            key,
            group,
            members,
        } => make::add(
            name(*user),
            &key_of(*key),
            &group_of(*group),
            &names(*members),
        ),
        Command::Remove {
            user,
            key,
            group,
            members,
        } => make::remove(
            name(*user),
            &key_of(*key),
            &group_of(*group),
            &names(*members),
        ),
        Command::Ack { user, group, seq } => {
            make::ack(name(*user), "device", &group_of(*group), u64::from(*seq))
        }
        Command::Read { user, group, seq } => {
            make::read(name(*user), &group_of(*group), u64::from(*seq))
        }
        Command::Raw(bytes) => bytes.clone(),
    }
}

fn name(user: u8) -> &'static str {
    USERS[user as usize % USERS.len()]
}

/// Few keys, so that they meet again; none for every eighth.
fn key_of(key: u8) -> String {
    if key.is_multiple_of(8) {
        String::new()
    } else {
        format!("k{}", key % 8)
    }
}

/// A group that somebody may have made, or a direct conversation.
fn group_of(group: u8) -> String {
    let user = name(group);
    if group < 200 {
        make::group(user, &key_of(group / 5 | 1))
    } else {
        make::direct(user, name(group / 5))
    }
}

/// The users whose bits are set.
fn names(members: u8) -> Vec<&'static str> {
    let bit = |at: &usize| members & (1 << at) != 0;
    (0..USERS.len()).filter(bit).map(|at| USERS[at]).collect()
}
