//! TLS without sockets: bytes of the wire go in, plaintext comes out, and the other way round.
//!
//! A connection holds keys and nothing else while it is idle: the buffers it works in are lent to it
//! for each call, and only what is left over of a record, or of what a socket did not take, stays.

mod connection;
mod credentials;
mod names;
mod tickets;

pub use connection::{RECORD_BYTES, Received, SealError, Tls};
pub use credentials::{Certificate, ClientCertificates, Credentials, CredentialsError, Settings};
pub use tickets::TicketKey;
