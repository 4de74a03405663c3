//! One connection's protocol, without sockets and clocks: bytes go in, client frames and reply
//! bytes come out. The engine joins it to a socket; tests and simulations join it to a buffer.

mod echo;
mod encoding;
mod http;
mod http2;
mod payload;
mod session;

pub use echo::{Echo, Echoed};
pub use encoding::{Encoding, Writer};
pub use http::{Asked, Control, PutAside, What, write_json_answer, write_plain_answer};
pub use payload::{Frames, frames};
pub use session::{Ended, Input, Overdue, Policy, Session};
