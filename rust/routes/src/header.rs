//! What stands before the buckets: identity of the mapping, positions of partitions, heartbeats.

use std::sync::atomic::AtomicU64;

/// Workers of a node: one mask bit each, bits 62 and 63 are the table's.
pub const WORKERS_MAX: usize = 62;

/// Partitions of a layout.
pub const PARTITIONS_MAX: usize = 256;

/// Numbers that a worker may show.
pub const METRICS_MAX: usize = 128;

/// First word of every table: "imfroute", little-endian.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"imfroute");

/// Version of the layout in this file and in `bucket.rs`.
pub(crate) const VERSION: u64 = 2;

/// Where a partition stands. A line of its own: its owner writes it at every commit.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct PartitionWords {
    /// Position of the last committed command, 0 before the first.
    pub(crate) committed: AtomicU64,
    /// Epoch of the owner, 0 while nobody has opened the partition.
    pub(crate) epoch: AtomicU64,
}

/// A worker's heartbeat, in whatever unit the worker and the supervisor agree on.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct HeartbeatWord {
    pub(crate) value: AtomicU64,
}

/// What a worker shows of itself. Lines of its own: it writes them now and then.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct MetricWords {
    pub(crate) words: [AtomicU64; METRICS_MAX],
}

/// The start of the mapping; the buckets follow it.
#[derive(Debug)]
#[repr(C, align(4096))]
pub(crate) struct Header {
    pub(crate) magic: AtomicU64,
    pub(crate) version: AtomicU64,
    pub(crate) buckets: AtomicU64,
    /// Seed of the key hash, random per table: clients choose ids, they must not choose buckets.
    pub(crate) seed: AtomicU64,
    pub(crate) partitions: [PartitionWords; PARTITIONS_MAX],
    pub(crate) heartbeats: [HeartbeatWord; WORKERS_MAX],
    pub(crate) metrics: [MetricWords; WORKERS_MAX],
}

const _: () = assert!(
    size_of::<Header>() == 21 * 4096,
    "the layout is shared by processes"
);
