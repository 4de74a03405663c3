//! Whose connections a run has, and which of them are this process's.

use std::fs;
use std::ops::Range;

use super::Scenario;
use crate::failure::Failure;
use crate::options::Options;
use crate::pool::User;
use crate::transport::Transport;

/// The users of the token file, as many as connections are wanted.
pub(super) fn all<S: Scenario, T: Transport>(options: &Options) -> Result<Vec<User>, Failure> {
    let wanted = options
        .connections
        .map(|connections| connections + S::apart(options));
    let senders = S::senders(options);
    if !T::AUTHENTICATES && options.tokens.as_os_str().is_empty() {
        return Ok((0..wanted.unwrap_or(1)).map(nobody).collect());
    }
    let path = options.tokens.display();
    let text = fs::read_to_string(&options.tokens)
        .map_err(|error| Failure::Said(format!("{path}: {error}")))?;
    let mut users = Vec::new();
    for line in text.lines() {
        let Some((name, token)) = line.split_once([' ', '\t']) else {
            return Err(Failure::Said(format!("{path}: a line is `user token`")));
        };
        users.push(User {
            name: name.into(),
            token: token.into(),
            only_sends: users.len() < senders,
        });
    }
    if let Some(wanted) = wanted {
        if users.len() < wanted {
            return Err(Failure::Said(format!(
                "{path}: {} lines, {wanted} needed",
                users.len()
            )));
        }
        users.truncate(wanted);
    }
    Ok(users)
}

fn nobody(number: usize) -> User {
    User {
        name: format!("u{number}"),
        token: String::new(),
        only_sends: false,
    }
}

/// Which of the `all` users are this process's. Those apart are the first ones, and the first
/// process's; of the others every process has as many blocks, give or take one.
pub(super) fn share<S: Scenario>(options: &Options, all: usize) -> Range<usize> {
    let Some(index) = options.share else {
        return 0..all;
    };
    let (apart, block) = (S::apart(options).min(all), S::block(options).max(1));
    let blocks = (all - apart) / block;
    let end = |index: usize| apart + blocks * index / options.processes * block;
    let start = if index == 0 { 0 } else { end(index) };
    // What makes no whole block is the last one's.
    let last = index + 1 == options.processes;
    start..if last { all } else { end(index + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{direct::Direct, fan_out::FanOut};

    fn shares<S: Scenario>(processes: usize, all: usize) -> Vec<Range<usize>> {
        let mut options = Options::for_tests("direct");
        options.processes = processes;
        let share = |index| {
            options.share = Some(index);
            super::share::<S>(&options, all)
        };
        (0..processes).map(share).collect()
    }

    #[test]
    fn processes_share_all_users_and_pairs_stay_together() {
        assert_eq!(shares::<Direct>(3, 10), [0..2, 2..6, 6..10]);
        assert_eq!(shares::<Direct>(2, 7), [0..2, 2..7]);
        assert_eq!(shares::<FanOut>(2, 11), [0..6, 6..11]);
    }
}
