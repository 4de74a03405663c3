//! Which parameters a server agrees to (RFC 7692 sections 5 and 7.1; RFC 6455 section 9.1).

use super::WINDOW_BITS_MAX;
use core::fmt::{self, Write};
use std::borrow::Cow;

/// The extension's registered name.
const NAME: &str = "permessage-deflate";
/// The smallest window our compressor has; the RFC's smallest is 8.
const WINDOW_BITS_MIN: u8 = 9;

/// permessage-deflate as both ends will use it, without context takeover in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// Log2 of the window that the server may compress with, 9 to 15.
    pub server_window_bits: u8,
}

/// A `Sec-WebSocket-Extensions` that is no list of extensions: the handshake fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The first of a client's offers that the server can honour; `values` are those of the header
/// `Sec-WebSocket-Extensions`.
///
/// A client without a window limit for the server gets the full window. What the client says
/// about its own window is not answered: our inflater always has the full one.
pub fn negotiate<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<Agreement>, Malformed> {
    let mut agreed = None;
    for value in values {
        let mut rest = Rest(core::str::from_utf8(value).map_err(|_| Malformed)?);
        loop {
            rest.blank();
            if rest.0.is_empty() {
                break;
            }
            // Empty elements of a list are left out (RFC 9110 section 5.6.1).
            if rest.eat(',') {
                continue;
            }
            let offer = extension(&mut rest)?;
            agreed = agreed.or(offer);
            if !rest.0.is_empty() && !rest.eat(',') {
                return Err(Malformed);
            }
        }
    }
    Ok(agreed)
}

/// Reads one extension and its parameters; none where it is another one or has parameters that
/// section 7.1 does not allow, which declines the offer.
fn extension(rest: &mut Rest<'_>) -> Result<Option<Agreement>, Malformed> {
    let ours = rest.token()?.eq_ignore_ascii_case(NAME);
    let mut acceptable = ours;
    let mut seen = [false; 4];
    let mut server_window_bits = WINDOW_BITS_MAX;
    rest.blank();
    while rest.eat(';') {
        rest.blank();
        let name = rest.token()?;
        rest.blank();
        let value = if rest.eat('=') {
            rest.blank();
            Some(rest.value()?)
        } else {
            None
        };
        rest.blank();
        let value = value.as_deref();
        let (index, valid) = match name {
            "server_no_context_takeover" => (0, value.is_none()),
            "client_no_context_takeover" => (1, value.is_none()),
            "server_max_window_bits" => {
                server_window_bits = value.and_then(window_bits).unwrap_or(0);
                (2, server_window_bits >= WINDOW_BITS_MIN)
            }
            "client_max_window_bits" => (3, value.is_none_or(|v| window_bits(v).is_some())),
            _ => (0, false),
        };
        let repeated = seen
            .get_mut(index)
            .is_none_or(|s| core::mem::replace(s, true));
        acceptable &= valid && !repeated;
    }
    Ok(acceptable.then_some(Agreement { server_window_bits }))
}

/// A decimal number from 8 to 15 without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok().filter(|bits| (8..=15).contains(bits))?;
    let shortest = !value.starts_with(['0', '+']);
    shortest.then_some(bits)
}

impl fmt::Display for Agreement {
    /// The value of the response's `Sec-WebSocket-Extensions`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        f.write_str("; server_no_context_takeover; client_no_context_takeover")?;
        if self.server_window_bits < WINDOW_BITS_MAX {
            write!(f, "; server_max_window_bits={}", self.server_window_bits)?;
        }
        Ok(())
    }
}

/// What is left of a header's value.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn blank(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn eat(&mut self, wanted: char) -> bool {
        let rest = self.0.strip_prefix(wanted);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn token(&mut self) -> Result<&'a str, Malformed> {
        let end = self.0.find(|c| !is_token(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        if token.is_empty() {
            Err(Malformed)
        } else {
            Ok(token)
        }
    }

    /// A token, or a token in quotes, where a backslash stands before any character.
    fn value(&mut self) -> Result<Cow<'a, str>, Malformed> {
        if !self.eat('"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        let mut characters = self.0.char_indices();
        while let Some((at, character)) = characters.next() {
            let character = match character {
                '"' => {
                    self.0 = self.0.get(at + 1..).unwrap_or("");
                    let token = !value.is_empty() && value.chars().all(is_token);
                    return if token {
                        Ok(Cow::Owned(value))
                    } else {
                        Err(Malformed)
                    };
                }
                '\\' => characters.next().ok_or(Malformed)?.1,
                other => other,
            };
            value.write_char(character).map_err(|_| Malformed)?;
        }
        Err(Malformed)
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree(offers: &str) -> Option<u8> {
        negotiate([offers.as_bytes()])
            .expect("a list of extensions")
            .map(|agreement| agreement.server_window_bits)
    }

    #[test]
    fn an_offer_with_any_valid_parameters_is_accepted() {
        for (offer, bits) in [
            ("permessage-deflate", 15),
            ("Permessage-Deflate; client_max_window_bits", 15),
            ("permessage-deflate;client_max_window_bits=8", 15),
            (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                15,
            ),
            ("permessage-deflate; server_max_window_bits=9", 9),
            ("permessage-deflate; server_max_window_bits=\"12\"", 12),
            (
                "permessage-deflate ; server_max_window_bits = \"1\\0\" ",
                10,
            ),
            ("x-other; a=\"b,c;d\"", 0),
            ("bbf-usp-protocol, , permessage-deflate", 15),
        ] {
            if bits == 0 {
                assert_eq!(negotiate([offer.as_bytes()]), Err(Malformed), "{offer}");
            } else {
                assert_eq!(agree(offer), Some(bits), "{offer}");
            }
        }
    }

    #[test]
    fn section_7_1_an_offer_with_other_parameters_is_declined() {
        for offer in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=a",
        ] {
            assert_eq!(agree(offer), None, "{offer}");
        }
    }

    #[test]
    fn section_5_1_the_first_acceptable_offer_is_taken_over_all_lines() {
        assert_eq!(
            agree("permessage-deflate; server_max_window_bits=8, permessage-deflate"),
            Some(15)
        );
        let lines = [
            &b"permessage-deflate; server_max_window_bits=10"[..],
            b"permessage-deflate",
        ];
        let agreed = negotiate(lines).expect("two lists");
        assert_eq!(agreed.map(|a| a.server_window_bits), Some(10));
    }

    #[test]
    fn section_9_1_what_is_no_list_of_extensions_fails_the_handshake() {
        for value in [
            "permessage-deflate;",
            "permessage-deflate; a=",
            "permessage-deflate; a=\"",
            "permessage-deflate; a=\"\"",
            "permessage-deflate a",
            ";",
            "é",
        ] {
            assert_eq!(negotiate([value.as_bytes()]), Err(Malformed), "{value}");
        }
        assert_eq!(negotiate([&b"\xff"[..]]), Err(Malformed));
    }

    #[test]
    fn the_response_denies_context_takeover_and_repeats_the_servers_window() {
        let full = Agreement {
            server_window_bits: 15,
        };
        assert_eq!(
            full.to_string(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        );
        let small = Agreement {
            server_window_bits: 9,
        };
        assert!(small.to_string().ends_with("; server_max_window_bits=9"));
    }
}
