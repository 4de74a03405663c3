//! Session tickets that every worker reads, whichever of them wrote them: the keys come from outside.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use std::fmt;

const NAME_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// Longest ticket that is looked at. A session with a client's certificate has some kilobytes; what is
/// longer is none of ours (RFC 8446 has no bound below 64 KiB).
const TICKET_BYTES_MAX: usize = 16 * 1024;

/// A name, by which a ticket says what it is sealed with, and a key.
#[derive(Clone)]
pub struct TicketKey {
    name: [u8; NAME_BYTES],
    key: [u8; KEY_BYTES],
}

impl TicketKey {
    /// Length of what [`TicketKey::new`] takes.
    pub const BYTES: usize = NAME_BYTES + KEY_BYTES;

    /// From random bytes.
    pub fn new(bytes: &[u8; Self::BYTES]) -> Self {
        let mut out = Self {
            name: [0; NAME_BYTES],
            key: [0; KEY_BYTES],
        };
        let (name, key) = bytes.split_at(NAME_BYTES);
        out.name.copy_from_slice(name);
        out.key.copy_from_slice(key);
        out
    }
}

/// Seals with the first key, opens with any: the others are those of times before.
pub(crate) struct Tickets {
    keys: Vec<([u8; NAME_BYTES], LessSafeKey)>,
    lifetime_s: u32,
    random: SystemRandom,
}

impl Tickets {
    pub(crate) fn new(keys: &[TicketKey], lifetime_s: u32) -> Option<Self> {
        let usable = |key: &TicketKey| {
            let unbound = UnboundKey::new(&CHACHA20_POLY1305, &key.key).ok()?;
            Some((key.name, LessSafeKey::new(unbound)))
        };
        Some(Self {
            keys: keys.iter().map(usable).collect::<Option<_>>()?,
            lifetime_s,
            random: SystemRandom::new(),
        })
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tickets of {} keys", self.keys.len())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.keys.is_empty()
    }

    fn lifetime(&self) -> u32 {
        self.lifetime_s
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.keys.first()?;
        let mut nonce = [0; NONCE_BYTES];
        // A key seals far fewer tickets than 2^32 in its time, so that chance makes them differ.
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, Aad::from(name), &mut sealed)
            .ok()?;
        Some([&name[..], &nonce[..], &sealed[..]].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        // Names are no secret: they stand in every ticket.
        let (_, key) = self.keys.iter().find(|(known, _)| known == name)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key
            .open_in_place(nonce, Aad::from(name), &mut plain)
            .ok()?
            .len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(numbers: &[u8]) -> Tickets {
        let keys: Vec<_> = numbers.iter().map(|n| TicketKey::new(&[*n; 48])).collect();
        Tickets::new(&keys, 60).expect("keys")
    }

    #[test]
    fn a_ticket_opens_wherever_its_key_is_known_and_nowhere_else() {
        let ticket = tickets(&[1]).encrypt(b"session").expect("a ticket");
        assert_eq!(
            tickets(&[2, 1]).decrypt(&ticket).as_deref(),
            Some(&b"session"[..])
        );
        assert_eq!(tickets(&[2]).decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets(&[1]).decrypt(&changed), None, "byte {at}");
            assert_eq!(tickets(&[1]).decrypt(&ticket[..at]), None);
        }
    }

    #[test]
    fn two_tickets_of_one_session_differ() {
        let tickets = tickets(&[1]);
        assert_ne!(tickets.encrypt(b"session"), tickets.encrypt(b"session"));
    }

    #[test]
    fn without_a_key_there_are_no_tickets() {
        let none = tickets(&[]);
        assert!(!none.enabled());
        assert_eq!(none.encrypt(b"session"), None);
    }
}
