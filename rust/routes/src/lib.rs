//! The node's shared-memory route table: which workers hold sessions of a user or of a group.
//!
//! One mapping per node, made by the supervisor and mapped by every worker:
//!
//! ```text
//! header      magic, version, buckets, hash seed
//! partitions  256 × {committed position, epoch}, a cache line each, written by the owner
//! heartbeats  62 words, a cache line each, written by the worker
//! buckets     n × 128 bytes: 7 × {key, mask} and one overflow mask
//! ```
//!
//! A key is the hash of a user or group; its mask has a bit per worker and **each worker changes only its
//! own bit**. A wrong 1 costs an ignored frame, a wrong 0 would lose a message, so every doubt (a full
//! bucket, a hash collision, a slot that changes hands) ends in a 1.
//!
//! # Order
//!
//! A session calls [`RouteWriter::set`], then reads [`RouteTable::committed`] as the bound of its catch-up.
//! An owner calls [`RouteTable::publish_committed`], then reads [`RouteTable::workers`]. Both first calls
//! end in a sequentially consistent fence, so at least one of the two sees the other: a message is
//! caught up, or delivered live, or both, never neither.

mod bucket;
mod header;
mod memory;
// Not under Miri: loom's generators ask the machine for the size of its stacks.
#[cfg(all(test, not(miri)))]
mod model;
mod table;
mod word;
mod writer;

pub use header::{METRICS_MAX, PARTITIONS_MAX, WORKERS_MAX};
pub use table::{RouteError, RouteStats, RouteTable, WorkerMask};
pub use writer::RouteWriter;
