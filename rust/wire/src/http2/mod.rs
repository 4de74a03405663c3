//! HTTP/2 (RFC 9113) and the WebSocket over it (RFC 8441), sans-IO: the server's side of one connection,
//! its streams' states and windows, and what it bears of a peer that makes work without asking anything.

#![deny(clippy::indexing_slicing)]

mod answer;
mod calm;
mod connection;
mod control;
mod error;
mod frame;
mod head;
pub mod hpack;
mod streams;

pub use answer::{begin_answer, write_answer};
pub use connection::{Connection, Event, Limits, head_bytes, place_head};
pub use error::Code;
pub use frame::write_data_header;
pub use head::Head;
