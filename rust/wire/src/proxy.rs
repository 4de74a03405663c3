//! The PROXY protocol, versions 1 and 2: what a proxy says before a client's first byte about where
//! the client connects from (haproxy.org, proxy-protocol.txt).

#![deny(clippy::indexing_slicing)]

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first bytes of version 1.
pub const V1_SIGNATURE: &[u8] = b"PROXY ";
/// The first bytes of version 2.
pub const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, its end included.
const V1_BYTES_MAX: usize = 107;
/// The longest header of version 2 that is read: addresses, and what proxies usually add to them.
pub const V2_BYTES_MAX: usize = 4096;
const V2_HEAD_BYTES: usize = 16;

/// The outcome of [`decode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// Call again once there is more.
    Incomplete,
    /// A header of `consumed` bytes. `source` is missing where the proxy speaks for itself (a check
    /// of health), or does not know.
    Header {
        consumed: usize,
        source: Option<IpAddr>,
    },
}

/// What is no header of this protocol; the connection cannot be read past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error(&'static str);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PROXY header: {}", self.0)
    }
}

impl core::error::Error for Error {}

/// Decodes the header at the start of `input`, which begins with one of the signatures.
pub fn decode(input: &[u8]) -> Result<Decoded, Error> {
    if input.starts_with(V2_SIGNATURE) {
        return version_2(input);
    }
    if input.starts_with(V1_SIGNATURE) {
        return version_1(input);
    }
    Err(Error("it begins with neither signature"))
}

fn version_1(input: &[u8]) -> Result<Decoded, Error> {
    const TOO_LONG: Error = Error("its line is longer than 107 bytes");
    let seen = input.get(..input.len().min(V1_BYTES_MAX)).unwrap_or(input);
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        return if input.len() < V1_BYTES_MAX {
            Ok(Decoded::Incomplete)
        } else {
            Err(TOO_LONG)
        };
    };
    let line = seen.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.ok_or(Error("its line does not end with CR LF"))?;
    let line = core::str::from_utf8(line).map_err(|_| Error("its line is not ASCII"))?;
    let mut words = line.split(' ');
    words.next();
    let source = match words.next() {
        // What else stands there must be ignored.
        Some("UNKNOWN") => None,
        Some(family @ ("TCP4" | "TCP6")) => {
            let mut address = || words.next().and_then(|word| word.parse::<IpAddr>().ok());
            let (source, destination) = (address(), address());
            let fits = |found: Option<IpAddr>| {
                found.is_some_and(|found| found.is_ipv4() == (family == "TCP4"))
            };
            if !fits(source) || !fits(destination) {
                return Err(Error("an address is none of its family"));
            }
            for _ in 0..2 {
                let port = words.next().and_then(|word| word.parse::<u16>().ok());
                port.ok_or(Error("a port is none"))?;
            }
            if words.next().is_some() {
                return Err(Error("something follows the ports"));
            }
            source
        }
        _ => return Err(Error("its family is none of TCP4, TCP6 and UNKNOWN")),
    };
    let consumed = end + 1;
    Ok(Decoded::Header { consumed, source })
}

fn version_2(input: &[u8]) -> Result<Decoded, Error> {
    let Some((head, rest)) = input.split_first_chunk::<V2_HEAD_BYTES>() else {
        return Ok(Decoded::Incomplete);
    };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if V2_HEAD_BYTES + length > V2_BYTES_MAX {
        return Err(Error("it is longer than 4096 bytes"));
    }
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Error("its version or command is unknown")),
    };
    let Some(body) = rest.get(..length) else {
        return Ok(Decoded::Incomplete);
    };
    let source = match family {
        // Of a proxy's own connection the addresses mean nothing.
        _ if local => None,
        // Over TCP or UDP: two addresses, two ports.
        0x11 | 0x12 => {
            let [a, b, c, d] = *start::<4>(body, 12)?;
            Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        0x21 | 0x22 => Some(IpAddr::V6(Ipv6Addr::from(*start::<16>(body, 36)?))),
        // Unix sockets have no address that anybody could be known by.
        0x31 | 0x32 => start::<16>(body, 216).map(|_| None)?,
        0x00 => None,
        _ => return Err(Error("its family is unknown")),
    };
    let consumed = V2_HEAD_BYTES + length;
    Ok(Decoded::Header { consumed, source })
}

/// The first bytes of a body that must have `least` of them.
fn start<const N: usize>(body: &[u8], least: usize) -> Result<&[u8; N], Error> {
    const SHORT: Error = Error("it is too short for its family");
    if body.len() < least {
        return Err(SHORT);
    }
    body.first_chunk().ok_or(SHORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(input: &[u8]) -> Option<IpAddr> {
        match decode(input) {
            Ok(Decoded::Header { consumed, source }) => {
                assert_eq!(consumed, input.len());
                source
            }
            other => panic!("{other:?}"),
        }
    }

    fn version_2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut out = V2_SIGNATURE.to_vec();
        out.extend([command, family]);
        out.extend((body.len() as u16).to_be_bytes());
        out.extend(body);
        out
    }

    #[test]
    fn both_versions_name_the_client() {
        let four = Some("10.1.2.3".parse().expect("an address"));
        let six = Some("2001:db8::7".parse().expect("an address"));
        assert_eq!(source(b"PROXY TCP4 10.1.2.3 10.0.0.1 50000 443\r\n"), four);
        assert_eq!(source(b"PROXY TCP6 2001:db8::7 ::1 50000 443\r\n"), six);
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(source(b"PROXY UNKNOWN what ever\r\n"), None);
        let body = [10, 1, 2, 3, 10, 0, 0, 1, 0xc3, 0x50, 1, 0xbb];
        assert_eq!(source(&version_2(0x21, 0x11, &body)), four);
        let with_more = [&body[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        assert_eq!(source(&version_2(0x21, 0x11, &with_more)), four);
        let mut body = "2001:db8::7"
            .parse::<Ipv6Addr>()
            .expect("an address")
            .octets()
            .to_vec();
        body.extend([0; 20]);
        assert_eq!(source(&version_2(0x21, 0x21, &body)), six);
        assert_eq!(source(&version_2(0x20, 0x00, &[])), None);
        assert_eq!(source(&version_2(0x20, 0x11, &[0; 12])), None);
        assert_eq!(source(&version_2(0x21, 0x31, &[0; 216])), None);
    }

    #[test]
    fn a_prefix_is_incomplete() {
        for whole in [
            b"PROXY TCP4 10.1.2.3 10.0.0.1 50000 443\r\n".to_vec(),
            version_2(0x21, 0x11, &[1; 12]),
        ] {
            for end in V2_SIGNATURE.len()..whole.len() {
                assert_eq!(decode(&whole[..end]), Ok(Decoded::Incomplete), "{end}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for (line, why) in [
            ("PROXY TCP4 10.1.2.3 10.0.0.1 1 2\n", "CR LF"),
            ("PROXY TCP4 ::1 10.0.0.1 1 2\r\n", "family"),
            ("PROXY TCP6 10.1.2.3 ::1 1 2\r\n", "family"),
            ("PROXY TCP4 10.1.2.3 10.0.0.1 1\r\n", "port"),
            ("PROXY TCP4 10.1.2.3 10.0.0.1 1 65536\r\n", "port"),
            ("PROXY TCP4 10.1.2.3 10.0.0.1 1 2 3\r\n", "follows"),
            ("PROXY UDP4 10.1.2.3 10.0.0.1 1 2\r\n", "family"),
        ] {
            let error = decode(line.as_bytes()).expect_err(line).to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
        let endless = [V1_SIGNATURE, &[b'x'; 200]].concat();
        assert!(decode(&endless).is_err());
        assert!(decode(&version_2(0x31, 0x11, &[0; 12])).is_err());
        assert!(decode(&version_2(0x21, 0x41, &[0; 12])).is_err());
        assert!(decode(&version_2(0x21, 0x11, &[0; 11])).is_err());
        assert!(decode(&version_2(0x21, 0x11, &[0; V2_BYTES_MAX])[..16]).is_err());
        assert!(decode(b"GET / HTTP/1.1\r\n").is_err());
    }
}
