//! The warm store of one partition: what left memory, in fjall's LSM trees behind the fold.
//!
//! ```text
//! Chunk ─▶ Applier's thread: settle ─▶ places ─▶ rows ─▶ keys' file ─▶ state + meta: the flip
//!                                      └───────── each sorted, synced ────────┘
//! ```
//!
//! [`FjallArchive`] is the store on disk, [`MemoryArchive`] the same contract without one,
//! [`Applier`] the thread that brings chunks to either. The port is `imfast_partition::archive`.
//!
//! Nothing here is the truth: the log is. A store that is damaged says so with
//! `io::ErrorKind::InvalidData`, is moved aside and made again by a replay.

mod applier;
mod codec;
mod error;
mod fjall;
mod home;
mod key_files;
mod manifest;
mod memory;
mod tree;

pub use applier::Applier;
pub use fjall::{FjallArchive, OpenOptions};
pub use memory::MemoryArchive;
