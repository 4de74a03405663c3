//! HTTP/1.1 (RFC 9110, RFC 9112) and the WebSocket handshake (RFC 6455 section 4), sans-IO.

#![deny(clippy::indexing_slicing)]

mod answer;
mod chunked;
mod client;
pub(crate) mod date;
mod error;
mod forwarded;
mod framing;
mod handshake;
mod headers;
mod origin;
mod query;
mod request;
mod response;
mod upgrade;

pub use answer::{
    Answer, Answering, LAST_CHUNK, Site, Version, begin_answer, reason, write_answer, write_chunk,
};
pub use chunked::{Chunked, Unchunked};
pub use client::{
    ClientError, ClientHandshake, ClientParsed, parse_client_response, write_client_handshake,
};
pub use error::Error;
pub use forwarded::forwarded_for;
pub use framing::{Framing, Refusal};
pub use headers::Headers;
pub use origin::OriginPolicy;
pub use query::query_value;
pub use request::{Limits, Parsed, Request, parse};
pub use response::{write_error, write_switching_protocols};
pub use upgrade::{Accept, Rejection, websocket_connect, websocket_upgrade};
