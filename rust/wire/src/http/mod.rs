//! HTTP/1.1, as far as the WebSocket handshake needs it (RFC 9112, RFC 6455 section 4), sans-IO.

#![deny(clippy::indexing_slicing)]

mod client;
mod error;
mod handshake;
mod headers;
mod origin;
mod request;
mod response;
mod upgrade;

pub use client::{
    ClientError, ClientHandshake, ClientParsed, parse_client_response, write_client_handshake,
};
pub use error::Error;
pub use headers::Headers;
pub use origin::OriginPolicy;
pub use request::{Limits, Parsed, Request, parse};
pub use response::{write_error, write_switching_protocols};
pub use upgrade::{Accept, Rejection, websocket_upgrade};
