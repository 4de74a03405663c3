//! The warm store of one partition: what left memory, in fjall's LSM trees behind the fold.
//!
//! ```text
//! Chunk ─▶ Applier's thread: settle ─▶ places ─▶ rows ─▶ keys ─▶ state + meta: the flip
//!                                      (file)    (tree)  (file)  (tree)      each synced
//! ```
//!
//! [`FjallArchive`] is the store on disk, [`MemoryArchive`] the same contract without one,
//! [`Applier`] the thread that brings chunks to either. The port is `imfast_partition::archive`.
//!
//! Nothing here is the truth: the log is. A store that is damaged says so with
//! `io::ErrorKind::InvalidData`, is moved aside and made again by a replay.

mod append_files;
mod applier;
mod codec;
mod copy;
mod error;
mod filter;
mod fjall;
mod home;
mod key_file;
mod keys;
mod manifest;
mod memory;
mod places;
mod snapshot;
mod tree;
mod verify;

pub use applier::{Applier, Source};
pub use copy::{Copied, copy, set_generation};
pub use fjall::{FjallArchive, OpenOptions};
pub use keys::KeyBudget;
pub use memory::MemoryArchive;
pub use verify::{Report, verify};
