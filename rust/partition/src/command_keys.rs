//! Membership commands that were done lately, so that a retry gets the first result.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::config::Limits;
use crate::hash::KeyHash;

/// The first result under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FirstResult {
    pub(crate) seq: u64,
    pub(crate) payload: u64,
    pub(crate) time_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    time_ms: u64,
    key: KeyHash,
    /// Of the command.
    position: u64,
}

/// A window over the committed membership commands, bounded in batch time and number.
#[derive(Debug, Default)]
pub(crate) struct CommandKeys {
    results: HashMap<KeyHash, FirstResult>,
    /// Oldest first; an entry whose time is not the result's was overwritten since.
    order: VecDeque<Entry>,
}

impl CommandKeys {
    pub(crate) fn find(&self, key: KeyHash, time_ms: u64, limits: &Limits) -> Option<FirstResult> {
        let first = *self.results.get(&key)?;
        let fresh = first.time_ms.saturating_add(limits.command_window_ms) > time_ms;
        fresh.then_some(first)
    }

    pub(crate) fn insert(&mut self, key: KeyHash, first: FirstResult, position: u64) {
        self.results.insert(key, first);
        self.order.push_back(Entry {
            time_ms: first.time_ms,
            key,
            position,
        });
    }

    /// Drops what is out of the window at the time of a batch that was committed, and tells the
    /// positions of the commands that are forgotten.
    pub(crate) fn expire(&mut self, time_ms: u64, limits: &Limits, mut forgotten: impl FnMut(u64)) {
        while let Some(&Entry {
            time_ms: at,
            key,
            position,
        }) = self.order.front()
        {
            let fresh = at.saturating_add(limits.command_window_ms) > time_ms;
            if fresh && self.order.len() <= limits.command_window_count {
                return;
            }
            self.order.pop_front();
            forgotten(position);
            if self
                .results
                .get(&key)
                .is_some_and(|first| first.time_ms == at)
            {
                self.results.remove(&key);
            }
        }
    }

    /// Every entry, for dumps.
    pub(crate) fn sorted(&self) -> Vec<(KeyHash, FirstResult)> {
        let mut all: Vec<_> = self
            .results
            .iter()
            .map(|(key, first)| (*key, *first))
            .collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(low: u64) -> KeyHash {
        KeyHash { high: 1, low }
    }

    fn first(seq: u64, time_ms: u64) -> FirstResult {
        FirstResult {
            seq,
            payload: 0,
            time_ms,
        }
    }

    #[test]
    fn key_is_found_until_its_window_ends_even_before_it_is_dropped() {
        let limits = Limits {
            command_window_ms: 10,
            ..Limits::default()
        };
        let mut keys = CommandKeys::default();
        keys.insert(key(1), first(1, 100), 1);
        assert_eq!(keys.find(key(1), 109, &limits), Some(first(1, 100)));
        assert_eq!(keys.find(key(1), 110, &limits), None);
        keys.expire(110, &limits, |position| assert_eq!(position, 1));
        assert!(keys.sorted().is_empty());
    }

    #[test]
    fn oldest_key_goes_when_there_are_too_many() {
        let limits = Limits {
            command_window_count: 2,
            ..Limits::default()
        };
        let mut keys = CommandKeys::default();
        for n in 1..=3 {
            keys.insert(key(n), first(n, 5), n);
        }
        keys.expire(5, &limits, |position| assert_eq!(position, 1));
        assert_eq!(keys.find(key(1), 5, &limits), None);
        assert_eq!(keys.find(key(3), 5, &limits), Some(first(3, 5)));
    }

    #[test]
    fn key_used_again_after_its_window_lives_a_window_more() {
        let limits = Limits {
            command_window_ms: 10,
            ..Limits::default()
        };
        let mut keys = CommandKeys::default();
        keys.insert(key(1), first(1, 100), 1);
        keys.insert(key(1), first(7, 112), 2);
        keys.expire(112, &limits, |position| assert_eq!(position, 1));
        assert_eq!(keys.find(key(1), 120, &limits), Some(first(7, 112)));
    }
}
