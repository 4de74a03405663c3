//! One worker of imfast: epoll, connections, links, fan-out, and the partitions it owns, behind
//! one descriptor that an event loop watches. Knows nothing of Python.

mod answers;
mod attach;
mod commands;
mod config;
mod connection;
mod delivery;
mod engine;
mod gateway;
mod groups;
mod input;
mod io;
mod links;
mod origin;
mod owner;
mod poller;
mod query;
mod requests;
mod send_queue;
mod slab;
mod socket;
mod stats;
mod users;
mod wheel;

pub use attach::Identity;
pub use config::EngineConfig;
pub use engine::{Engine, Speaks, Work};
pub use imfast_log::AppendError;
pub use owner::{Finished, OpenError, is_lost};
pub use requests::{ControlVerb, Request};
pub use slab::Handle;
