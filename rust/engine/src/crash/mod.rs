//! What a process leaves behind when it ends by a fault: a report in the data directory with the
//! place, a backtrace, and the last things that happened. Never a body, never a token.

mod events;
mod report;
mod signals;

pub use events::{Event, recent};
pub use report::{install, last_panic, write};
pub use signals::write_events_on_fatal_signals;

pub(crate) use events::note;
