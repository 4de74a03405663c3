//! One connection.

use crate::credentials::Credentials;
use rustls::HandshakeKind;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use std::fmt;
use std::sync::Arc;

/// Plaintext of one record at most (RFC 8446, section 5.1).
pub const RECORD_BYTES: usize = 16 * 1024;
/// What a record is longer than its plaintext, at most: header, type, tag; an explicit nonce in 1.2.
const RECORD_OVERHEAD: usize = 5 + 1 + 16 + 8;
/// Longest handshake message that is waited for: what a client sends of certificates is below that.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;
/// Longest record (RFC 5246, section 6.2.3).
const WIRE_RECORD_BYTES_MAX: usize = 5 + RECORD_BYTES + 2048;

/// See the module's text.
pub struct Tls {
    inner: UnbufferedServerConnection,
    /// The first bytes of a record or message whose last ones are still to come.
    held: Vec<u8>,
    /// Bytes for the wire that the socket did not take.
    unsent: Vec<u8>,
    sent: usize,
    open: bool,
    /// The peer has said that it sends no more.
    peer_ended: bool,
    /// Nothing can be sealed any more.
    ended: bool,
}

/// What bytes from the wire meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// More has to come before the handshake is over.
    Handshaking,
    /// With these bytes the handshake was over; there may be plaintext as well.
    Opened,
    /// The connection is open.
    Open,
    /// The peer sends no more; what was sealed for it still reaches it.
    Closed,
    /// The peer does not speak the protocol, or is not let in. What is said to it is in the output.
    Failed(String),
}

/// The keys have sealed as much as they may, or the connection is not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealError;

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection cannot seal any more")
    }
}

impl std::error::Error for SealError {}

/// How the work on a connection's input went on.
enum Step {
    Again,
    Done,
    PeerClosed,
}

impl Tls {
    /// # Errors
    /// The library's, of which none is known.
    pub fn new(credentials: &Credentials) -> Result<Self, rustls::Error> {
        Ok(Self {
            inner: UnbufferedServerConnection::new(Arc::clone(&credentials.0))?,
            held: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            open: false,
            peer_ended: false,
            ended: false,
        })
    }

    /// Whether plaintext can be sealed.
    pub fn is_open(&self) -> bool {
        self.open && !self.ended
    }

    /// Takes bytes from the wire; appends plaintext to `plain` and what must be sent to `out`.
    pub fn receive(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Received {
        if self.ended || self.peer_ended {
            return Received::Closed;
        }
        let was_open = self.open;
        let mut held = std::mem::take(&mut self.held);
        let outcome = if held.is_empty() {
            let outcome = self.work(input, plain, out);
            if let Ok((_, used)) = outcome {
                self.held = input[used..].to_vec();
            }
            outcome
        } else {
            held.extend_from_slice(input);
            let outcome = self.work(&mut held, plain, out);
            if let Ok((_, used)) = outcome {
                held.drain(..used);
                if !held.is_empty() {
                    held.shrink_to_fit();
                    self.held = held;
                }
            }
            outcome
        };
        match outcome {
            Err(reason) => {
                self.ended = true;
                Received::Failed(reason)
            }
            Ok((true, _)) => {
                // What it asked for before may still be answered.
                self.peer_ended = true;
                self.held = Vec::new();
                Received::Closed
            }
            Ok((false, _)) if self.held.len() > HANDSHAKE_BYTES_MAX + WIRE_RECORD_BYTES_MAX => {
                self.ended = true;
                Received::Failed("a handshake message is too long".to_owned())
            }
            Ok((false, _)) => match (was_open, self.open) {
                (true, _) => Received::Open,
                (false, true) => Received::Opened,
                (false, false) => Received::Handshaking,
            },
        }
    }

    /// Works on `input`; returns whether the peer has closed, and how much is not needed any more.
    fn work(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(bool, usize), String> {
        let mut used = 0;
        loop {
            let rest = input.get_mut(used..).unwrap_or(&mut []);
            let UnbufferedStatus { discard, state } = self.inner.process_tls_records(rest);
            let step = match state {
                Ok(state) => advance(state, &mut self.open, plain, out),
                Err(error) => {
                    self.last_words(out);
                    return Err(error.to_string());
                }
            };
            used += discard;
            match step? {
                Step::Again => {}
                Step::Done => return Ok((false, used)),
                Step::PeerClosed => return Ok((true, used)),
            }
        }
    }

    /// The alert that the library has made ready for a peer that failed.
    fn last_words(&mut self, out: &mut Vec<u8>) {
        // One state for each alert that waits, one for their having been sent.
        for _ in 0..4 {
            let UnbufferedStatus { state, .. } = self.inner.process_tls_records(&mut []);
            match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let _ = put(out, 64, |room| match data.encode(room) {
                        Ok(written) => Put::Written(written),
                        Err(EncodeError::InsufficientSize(wants)) => {
                            Put::Wants(wants.required_size)
                        }
                        Err(EncodeError::AlreadyEncoded) => Put::Refused,
                    });
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => return,
            }
        }
    }

    /// Appends `plain` to `out`, sealed in records as large as may be.
    ///
    /// # Errors
    /// See [`SealError`]; the connection is to be given up.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        if !self.is_open() {
            return Err(SealError);
        }
        let room = plain.len() + RECORD_OVERHEAD * (plain.len() / RECORD_BYTES + 1);
        let mut written = false;
        // Something of the handshake's kind (an answer to a change of keys) may have to go first.
        let mut ignored = Vec::new();
        for _ in 0..8 {
            let UnbufferedStatus { discard, state } =
                self.inner.process_tls_records(&mut self.held);
            debug_assert_eq!(discard, 0, "all that is whole was worked on when it came");
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    written = put(out, room, |room| match traffic.encrypt(plain, room) {
                        Ok(written) => Put::Written(written),
                        Err(EncryptError::InsufficientSize(wants)) => {
                            Put::Wants(wants.required_size)
                        }
                        Err(EncryptError::EncryptExhausted) => Put::Refused,
                    });
                    break;
                }
                Ok(state) => {
                    if !matches!(
                        advance(state, &mut self.open, &mut ignored, out),
                        Ok(Step::Again)
                    ) {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
        debug_assert!(ignored.is_empty(), "plaintext comes with what is received");
        if written {
            Ok(())
        } else {
            self.ended = true;
            Err(SealError)
        }
    }

    /// Appends the end of our bytes to `out`.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if !self.is_open() {
            return;
        }
        for _ in 0..8 {
            let UnbufferedStatus { state, .. } = self.inner.process_tls_records(&mut self.held);
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    put(out, 64, |room| match traffic.queue_close_notify(room) {
                        Ok(written) => Put::Written(written),
                        Err(EncryptError::InsufficientSize(wants)) => {
                            Put::Wants(wants.required_size)
                        }
                        Err(EncryptError::EncryptExhausted) => Put::Refused,
                    });
                    break;
                }
                Ok(state) => {
                    let ignored = &mut Vec::new();
                    if !matches!(
                        advance(state, &mut self.open, ignored, out),
                        Ok(Step::Again)
                    ) {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
        self.ended = true;
    }

    /// Keeps bytes for the wire that the socket did not take.
    pub fn keep_unsent(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Bytes for the wire that wait.
    pub fn unsent(&self) -> &[u8] {
        self.unsent.get(self.sent..).unwrap_or(&[])
    }

    /// The socket took so many of those.
    pub fn sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.unsent.len() {
            (self.unsent, self.sent) = (Vec::new(), 0);
        }
    }

    /// The protocol that was agreed on.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.inner.alpn_protocol()
    }

    /// DER of the client's own certificate, which was verified.
    pub fn client_certificate(&self) -> Option<&[u8]> {
        let chain = self.inner.peer_certificates()?;
        chain.first().map(AsRef::as_ref)
    }

    /// Whether the handshake was the short one, with a ticket.
    pub fn resumed(&self) -> bool {
        self.inner.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// What became of an attempt to write into a given room.
enum Put {
    Written(usize),
    Wants(usize),
    Refused,
}

/// Lets `write` fill room behind what `out` has: `expected` bytes at first, then as many as it wants.
fn put(out: &mut Vec<u8>, expected: usize, mut write: impl FnMut(&mut [u8]) -> Put) -> bool {
    let start = out.len();
    let mut room = expected;
    for _ in 0..2 {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Put::Written(written) => {
                out.truncate(start + written);
                return true;
            }
            Put::Wants(wanted) => room = wanted,
            Put::Refused => break,
        }
    }
    out.truncate(start);
    false
}

fn advance<Data>(
    state: ConnectionState<'_, '_, Data>,
    open: &mut bool,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<Step, String> {
    match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record.map_err(|error| error.to_string())?;
                debug_assert_eq!(record.discard, 0, "the library copies what it decrypts");
                plain.extend_from_slice(record.payload);
            }
            Ok(Step::Again)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            let encoded = put(out, 2048, |room| match data.encode(room) {
                Ok(written) => Put::Written(written),
                Err(EncodeError::InsufficientSize(wants)) => Put::Wants(wants.required_size),
                Err(EncodeError::AlreadyEncoded) => Put::Refused,
            });
            encoded
                .then_some(Step::Again)
                .ok_or_else(|| "a handshake message could not be encoded".to_owned())
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::BlockedHandshake => Ok(Step::Done),
        ConnectionState::WriteTraffic(_) => {
            *open = true;
            Ok(Step::Done)
        }
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::PeerClosed),
        // None is offered.
        _ => Err("early data was not offered".to_owned()),
    }
}

#[cfg(test)]
mod tests;
