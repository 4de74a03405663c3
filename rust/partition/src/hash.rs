//! Keyed hashes: names for lookup, idempotency keys and contents for the sequencer.
//!
//! SipHash-1-3 with a secret per data directory, so that clients, who choose ids, keys and
//! bodies, cannot choose collisions.

use core::hash::Hasher as _;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128 as _, SipHasher13 as SipHasher128};

/// 128-bit hash of an idempotency key; never zero, which means "no key" in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct KeyHash {
    pub(crate) high: u64,
    pub(crate) low: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Hashes {
    secret: [u8; 16],
    short: SipHasher13,
}

impl Hashes {
    pub(crate) fn new(secret: [u8; 16]) -> Self {
        Self {
            secret,
            short: SipHasher13::new_with_key(&secret),
        }
    }

    /// Hash of a name within a scope (a tenant's index), for the interners.
    pub(crate) fn name(&self, scope: u32, name: &[u8]) -> u64 {
        let mut hasher = self.short;
        hasher.write_u32(scope);
        hasher.write(name);
        hasher.finish()
    }

    /// Hash of a payload, to tell a retry from another request under the same key. `kind` keeps
    /// equal bytes of different commands apart.
    pub(crate) fn payload(&self, kind: u32, content: &[u8]) -> u64 {
        let mut hasher = self.short;
        hasher.write_u32(kind);
        hasher.write(content);
        hasher.finish()
    }

    /// Hash of (tenant, conversation, sender, key), each with its length in front.
    pub(crate) fn key(&self, tenant: &[u8], conversation: &str, user: &str, key: &[u8]) -> KeyHash {
        let mut hasher = SipHasher128::new_with_key(&self.secret);
        for part in [tenant, conversation.as_bytes(), user.as_bytes(), key] {
            hasher.write_u32(part.len() as u32);
            hasher.write(part);
        }
        let hash = hasher.finish128();
        let low = if hash.h1 == 0 && hash.h2 == 0 {
            1
        } else {
            hash.h1
        };
        KeyHash { high: hash.h2, low }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_parts_do_not_run_into_each_other() {
        let hashes = Hashes::new([7; 16]);
        assert_ne!(
            hashes.key(b"t", "ab", "c", b"k"),
            hashes.key(b"t", "a", "bc", b"k")
        );
    }

    #[test]
    fn another_secret_gives_other_hashes() {
        let (one, two) = (Hashes::new([1; 16]), Hashes::new([2; 16]));
        assert_ne!(one.key(b"t", "c", "u", b"k"), two.key(b"t", "c", "u", b"k"));
        assert_ne!(one.name(0, b"alice"), two.name(0, b"alice"));
        assert_ne!(one.payload(8, b"hi"), two.payload(8, b"hi"));
    }
}
