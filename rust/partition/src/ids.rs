//! Ids of conversations, derived so that a retry names the same conversation, and the partition
//! that a conversation belongs to.

use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::Xxh3;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Id of the direct conversation of two users, whichever of them asks.
pub(crate) fn direct_id(tenant: &[u8], a: &str, b: &str) -> String {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    derive(
        "d.",
        &[b"direct", tenant, first.as_bytes(), second.as_bytes()],
    )
}

/// Id of the group that `creator` makes under an idempotency key.
pub(crate) fn group_id(tenant: &[u8], creator: &str, key: &[u8]) -> String {
    derive("g.", &[b"group", tenant, creator.as_bytes(), key])
}

/// The partition that owns a conversation (hash version 1).
pub(crate) fn partition_of(tenant: &[u8], conversation: &str, count: u16) -> u16 {
    let mut hasher = Xxh3::new();
    hasher.update(tenant);
    hasher.update(&[0]);
    hasher.update(conversation.as_bytes());
    (((hasher.digest() >> 32) * count as u64) >> 32) as u16
}

fn derive(prefix: &str, parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hasher.update([0]);
        }
        hasher.update(part);
    }
    let mut id = String::with_capacity(24);
    id.push_str(prefix);
    // Base64url without padding (RFC 4648, section 5): six bits a character, high bits first.
    let digest = hasher.finalize();
    for group in digest[..16].chunks(3) {
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | *byte as u32);
        let bits = bits << (8 * (3 - group.len()));
        for character in 0..=group.len() {
            let six = bits >> (18 - 6 * character) & 63;
            id.push(ALPHABET[six as usize] as char);
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_id_is_the_same_from_both_sides() {
        assert_eq!(
            direct_id(b"default", "alice", "bob"),
            direct_id(b"default", "bob", "alice")
        );
        assert_ne!(
            direct_id(b"default", "alice", "bob"),
            direct_id(b"other", "alice", "bob")
        );
    }

    #[test]
    fn ids_are_those_of_the_published_derivation() {
        // python3: base64.urlsafe_b64encode(sha256(b"direct\0default\0alice\0bob").digest()[:16])
        assert_eq!(
            direct_id(b"default", "bob", "alice"),
            "d.iEYfJs38TfkI1HsKySKCMw"
        );
        // python3: base64.urlsafe_b64encode(sha256(b"group\0default\0alice\0k1").digest()[:16])
        assert_eq!(
            group_id(b"default", "alice", b"k1"),
            "g.g4ODz8AYwkhptOJ2OiF46g"
        );
    }

    #[test]
    fn every_conversation_has_a_partition_below_the_count() {
        for count in [1u16, 2, 3, 1000] {
            for n in 0..200 {
                assert!(partition_of(b"default", &format!("g.{n}"), count) < count);
            }
        }
    }
}
