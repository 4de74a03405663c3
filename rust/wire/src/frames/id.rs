//! Identifiers: which strings are ids, and how conversations' ids follow from who is in them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::limits;

/// Bytes of the hash that a conversation's id carries.
const HASH_BYTES: usize = 16;

/// Why a string is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdError {
    Empty,
    /// Longer than [`limits::ID_BYTES`].
    TooLong {
        bytes: usize,
    },
    /// A control character at this byte.
    Control {
        offset: usize,
    },
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the id is empty"),
            Self::TooLong { bytes } => {
                write!(
                    f,
                    "the id has {bytes} bytes, more than {}",
                    limits::ID_BYTES.max
                )
            }
            Self::Control { offset } => {
                write!(f, "the id has a control character at byte {offset}")
            }
        }
    }
}

impl std::error::Error for IdError {}

/// Whether `id` can be a user's, group's, device's or conversation's: 1 to 128 bytes of UTF-8
/// without control characters (Unicode category Cc).
pub fn check(id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    if id.len() as u64 > limits::ID_BYTES.max {
        return Err(IdError::TooLong { bytes: id.len() });
    }
    // Nearly all: no byte of another character is in this range.
    if id.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        return Ok(());
    }
    match id.char_indices().find(|(_, char)| char.is_control()) {
        Some((offset, _)) => Err(IdError::Control { offset }),
        None => Ok(()),
    }
}

/// The id of the direct conversation of two users, whichever of them asks.
pub fn direct_conversation(tenant: impl AsRef<[u8]>, a: &str, b: &str) -> String {
    let (first, second) = if a.as_bytes() <= b.as_bytes() {
        (a, b)
    } else {
        (b, a)
    };
    hashed(
        "d.",
        &[
            b"direct",
            tenant.as_ref(),
            first.as_bytes(),
            second.as_bytes(),
        ],
    )
}

/// The id of the group that `creator` makes with `key`: a retried create makes the same group.
pub fn group_conversation(tenant: impl AsRef<[u8]>, creator: &str, key: &str) -> String {
    hashed(
        "g.",
        &[
            b"group",
            tenant.as_ref(),
            creator.as_bytes(),
            key.as_bytes(),
        ],
    )
}

/// The conversation of everybody in a tenant, in which the server alone speaks.
pub const EVERYBODY: &str = "b.all";

/// Whether only the server speaks in a conversation, whoever is in it.
pub fn is_broadcast(conversation: &str) -> bool {
    conversation.starts_with("b.")
}

/// The id of a list of users that the server speaks to, made with `key`.
pub fn list_conversation(tenant: impl AsRef<[u8]>, key: &str) -> String {
    hashed("b.", &[b"list", tenant.as_ref(), key.as_bytes()])
}

/// `prefix` and the first 16 bytes of the SHA-256 of the parts, with a 0 between each two.
fn hashed(prefix: &str, parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update([0]);
        }
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut id = String::with_capacity(prefix.len() + (HASH_BYTES * 4).div_ceil(3));
    id.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(&digest[..HASH_BYTES], &mut id);
    id
}

/// The partition, of `count`, that owns a conversation: hash version 1. Stored data depends on
/// it, so it never changes; another function would be another version of the layout.
pub fn partition_of(tenant: impl AsRef<[u8]>, conversation: &str, count: u16) -> u16 {
    /// Nearly all are: hashing those in one piece spares the streaming state's half kilobyte.
    const SHORT: usize = 64;
    let (tenant, conversation) = (tenant.as_ref(), conversation.as_bytes());
    let length = tenant.len() + 1 + conversation.len();
    let hash = if length <= SHORT {
        let mut joined = [0; SHORT];
        joined[..tenant.len()].copy_from_slice(tenant);
        joined[tenant.len() + 1..length].copy_from_slice(conversation);
        xxh3_64(&joined[..length])
    } else {
        let mut state = Xxh3::new();
        state.update(tenant);
        state.update(&[0]);
        state.update(conversation);
        state.digest()
    };
    (((hash >> 32) * u64::from(count)) >> 32) as u16
}

/// When a key that is a UUID of version 7 in its usual text was made (RFC 9562 section 5.7), in
/// milliseconds since 1970; none for any other key.
pub fn key_made_ms(key: &[u8]) -> Option<u64> {
    let mut digits: [u8; 36] = key.try_into().ok()?;
    if digits[14] != b'7' {
        return None;
    }
    for hyphen in [8, 13, 18, 23] {
        if digits[hyphen] != b'-' {
            return None;
        }
        digits[hyphen] = b'0';
    }
    let mut all = 0;
    for digit in &mut digits {
        *digit = HEX_DIGITS[usize::from(*digit)];
        all |= *digit;
    }
    if all & NO_DIGIT != 0 {
        return None;
    }
    let time = digits[..8].iter().chain(&digits[9..13]);
    Some(time.fold(0, |ms, digit| ms << 4 | u64::from(*digit)))
}

const NO_DIGIT: u8 = 0x80;

/// Value of each byte as a hexadecimal digit.
const HEX_DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 16 {
        digits[b"0123456789abcdef"[digit as usize] as usize] = digit;
        digits[b"0123456789ABCDEF"[digit as usize] as usize] = digit;
        digit += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_users_of_a_direct_conversation_derive_one_id() {
        let id = direct_conversation("default", "alice", "bob");
        assert_eq!(id, direct_conversation("default", "bob", "alice"));
        assert_ne!(id, direct_conversation("other", "alice", "bob"));
        assert_eq!(id.len(), "d.".len() + 22);
        assert_eq!(check(&id), Ok(()));
    }

    // Computed with hashlib and base64 of Python 3.
    #[test]
    fn ids_are_the_ones_that_other_languages_derive() {
        assert_eq!(
            direct_conversation("default", "alice", "bob"),
            "d.iEYfJs38TfkI1HsKySKCMw"
        );
        assert_eq!(
            group_conversation("default", "alice", "9f"),
            "g.D0eMoYJR6sfT25rHrRhqFA"
        );
    }

    #[test]
    fn only_a_version_7_uuid_tells_when_it_was_made() {
        // RFC 9562, appendix A.6.
        let example = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
        assert_eq!(key_made_ms(example.as_bytes()), Some(1_645_557_742_000));
        let upper = example.to_uppercase();
        assert_eq!(key_made_ms(upper.as_bytes()), Some(1_645_557_742_000));
        for other in [
            "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
            "017f22e2x79b0-7cc3-98c4-dc0c0c07398f",
            "017f22e2-79b0-7cc3-98c4-dc0c0c07398-",
            "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
            "017f22e2-79b0-7cc3-98c4-dc0c0c0739üü",
            "order-17",
            "",
        ] {
            assert_eq!(key_made_ms(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn ids_of_wrong_length_or_with_controls_are_refused() {
        assert_eq!(check(""), Err(IdError::Empty));
        assert_eq!(check(&"x".repeat(128)), Ok(()));
        assert_eq!(
            check(&"x".repeat(129)),
            Err(IdError::TooLong { bytes: 129 })
        );
        assert_eq!(check("ab\u{7f}"), Err(IdError::Control { offset: 2 }));
        assert_eq!(check("a\u{85}"), Err(IdError::Control { offset: 1 }));
        assert_eq!(check("a\0"), Err(IdError::Control { offset: 1 }));
        assert_eq!(check("Ünïcode/😀 id"), Ok(()));
    }

    #[test]
    fn conversations_spread_over_every_partition() {
        // A hash takes Miri a tenth of a second; fewer of them spread less evenly.
        let (ids, slack) = if cfg!(miri) { (210, 15) } else { (7_000, 200) };
        let mut counts = [0u32; 7];
        for index in 0..ids {
            counts[usize::from(partition_of("default", &format!("d.{index}"), 7))] += 1;
        }
        let mean = ids / 7;
        assert!(
            counts.iter().all(|&count| count.abs_diff(mean) < slack),
            "{counts:?}"
        );
    }

    #[test]
    fn long_ids_hash_as_short_ones_do() {
        let long = "x".repeat(400);
        let expected = xxh3_64(format!("t\0{long}").as_bytes());
        let expected = ((expected >> 32) * 1_000) >> 32;
        assert_eq!(u64::from(partition_of("t", &long, 1_000)), expected);
    }
}
