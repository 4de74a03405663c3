//! The table as every process sees it: routes by key, positions of partitions, heartbeats.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use xxhash_rust::xxh3::{Xxh3Builder, xxh3_64_with_seed};

use crate::bucket::{Bucket, LOCK};
use crate::header::{MAGIC, METRICS_MAX, VERSION, WORKERS_MAX};
use crate::memory::{Memory, table_bytes};
use crate::word::Word;

/// Why a table could not be made or mapped.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The system refused memory or the file.
    #[error("route table: {0}")]
    System(#[from] io::Error),
    /// No bucket at all, or more than can be addressed.
    #[error("route table: {0} buckets are not possible")]
    Buckets(u64),
    /// The file is no route table, or one of another version.
    #[error("route table: not a table of version {VERSION}")]
    Foreign,
}

/// The workers that may hold a key: bit `w` is worker `w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerMask(pub u64);

impl WorkerMask {
    /// True when `worker` may hold the key.
    pub fn contains(self, worker: usize) -> bool {
        worker < WORKERS_MAX && self.0 >> worker & 1 == 1
    }

    /// True when no worker holds the key.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The workers in the mask, lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let worker = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (worker < WORKERS_MAX).then_some(worker)
        })
    }
}

/// How full the table is. Counted slot by slot while others write: a report, not a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteStats {
    /// Buckets of the table.
    pub buckets: u64,
    /// Slots that hold a key, of 7 a bucket.
    pub entries: u64,
    /// Slots whose key is being written; one that stays so belongs to a dead worker.
    pub locked: u64,
    /// Buckets that overflowed: their keys are broadcast to the workers in the overflow mask.
    pub overflowing: u64,
}

/// The route table. Reading and the owner's publishing need no more than a reference; a worker changes
/// its routes through its one [`crate::RouteWriter`].
#[derive(Debug)]
pub struct RouteTable {
    memory: Memory,
    seed: u64,
}

impl RouteTable {
    /// Makes a table of `buckets` buckets of 128 bytes and returns its memfd, for [`RouteTable::map`] here
    /// and in other processes. The descriptor is close-on-exec; `name` shows in `/proc` only.
    ///
    /// Give a bucket for every two keys: at that load one bucket in a thousand overflows.
    pub fn create(name: &str, buckets: u64) -> Result<OwnedFd, RouteError> {
        use std::os::fd::AsFd;
        let bytes = table_bytes(buckets).filter(|_| buckets > 0);
        let fd = Memory::create(name, bytes.ok_or(RouteError::Buckets(buckets))?)?;
        let memory = Memory::map(fd.as_fd())?.ok_or(RouteError::Foreign)?;
        Self::format(&memory, RandomState::new().hash_one(0));
        Ok(fd)
    }

    /// Maps a table made by [`RouteTable::create`]. The descriptor may be closed afterwards.
    pub fn map(fd: BorrowedFd<'_>) -> Result<Self, RouteError> {
        let memory = Memory::map(fd)?.ok_or(RouteError::Foreign)?;
        let header = memory.header();
        let identity = (header.magic.load_acquire(), header.version.load_relaxed());
        let buckets = memory.buckets().len() as u64;
        if identity != (MAGIC, VERSION) || header.buckets.load_relaxed() != buckets {
            return Err(RouteError::Foreign);
        }
        let seed = header.seed.load_relaxed();
        Ok(Self { memory, seed })
    }

    /// A table of this process only.
    pub fn heap(buckets: u64) -> Result<Self, RouteError> {
        Self::heap_with_seed(buckets, RandomState::new().hash_one(0))
    }

    /// As [`Self::heap`], with the same keys in the same buckets each time: for simulations.
    pub fn heap_with_seed(buckets: u64, seed: u64) -> Result<Self, RouteError> {
        let bytes = table_bytes(buckets).filter(|_| buckets > 0);
        let memory = Memory::heap(bytes.ok_or(RouteError::Buckets(buckets))?);
        Self::format(&memory, seed);
        Ok(Self { memory, seed })
    }

    fn format(memory: &Memory, seed: u64) {
        let header = memory.header();
        header.version.store_relaxed(VERSION);
        header.buckets.store_relaxed(memory.buckets().len() as u64);
        header.seed.store_relaxed(seed);
        header.magic.store_release(MAGIC);
    }

    // Keys

    /// The key under which a user's sessions are routed. The same in every process that maps the table,
    /// another in another table: never store it.
    pub fn user_key(&self, tenant: &[u8], user: &[u8]) -> u64 {
        hash(self.seed, b'u', tenant, user)
    }

    /// The key under which the subscribers of a group conversation are routed; as [`Self::user_key`].
    pub fn group_key(&self, tenant: &[u8], conversation: &[u8]) -> u64 {
        hash(self.seed, b'g', tenant, conversation)
    }

    // Routes

    /// The workers that may hold `key`; a hint upwards: never too few, at times too many.
    #[inline]
    pub fn workers(&self, key: u64) -> WorkerMask {
        WorkerMask(self.bucket(key).workers(key))
    }

    /// Brings the bucket of `key` into the cache, for a caller with several keys to look up.
    #[inline]
    pub fn prefetch(&self, key: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let bucket: *const i8 = std::ptr::from_ref(self.bucket(key)).cast();
            // SAFETY: a prefetch has no effect that a program can see, and the two lines are the bucket's.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(bucket);
                _mm_prefetch::<_MM_HINT_T0>(bucket.add(64));
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = key;
    }

    /// Clears every bit of a worker whose process is dead and reaped, before its successor starts. Frees
    /// slots in which it died. Walks the whole table: about 10 ms for 128 MiB.
    pub fn clear_worker(&self, worker: usize) {
        let bit = worker_bit(worker);
        for bucket in self.memory.buckets() {
            bucket.clear_worker(bit);
        }
    }

    /// Counts the table's contents; walks all of it.
    pub fn stats(&self) -> RouteStats {
        let mut stats = RouteStats::default();
        for bucket in self.memory.buckets() {
            stats.buckets += 1;
            for slot in &bucket.slots {
                let mask = slot.mask.load_relaxed();
                stats.entries += u64::from(mask != 0);
                stats.locked += u64::from(mask & LOCK != 0);
            }
            stats.overflowing += u64::from(bucket.overflow.mask.load_relaxed() != 0);
        }
        stats
    }

    #[inline]
    pub(crate) fn bucket_index(&self, key: u64) -> usize {
        let buckets = self.memory.buckets().len() as u128;
        ((u128::from(key) * buckets) >> 64) as usize
    }

    #[inline]
    pub(crate) fn bucket(&self, key: u64) -> &Bucket {
        &self.memory.buckets()[self.bucket_index(key)]
    }

    // Partitions

    /// Position of the partition's last committed command, 0 before the first. After
    /// [`crate::RouteWriter::set`]: what is committed later is routed to the worker.
    pub fn committed(&self, partition: usize) -> u64 {
        self.memory.header().partitions[partition]
            .committed
            .load_acquire()
    }

    /// Publishes the committed position. The [`Self::workers`] read afterwards contain everybody who did
    /// not see it. Only the partition's owner calls this; positions never go back.
    pub fn publish_committed(&self, partition: usize, position: u64) {
        let word = &self.memory.header().partitions[partition].committed;
        debug_assert!(
            word.load_relaxed() <= position,
            "a committed position went back"
        );
        word.publish(position);
    }

    /// Epoch of the partition's owner, 0 while nobody has opened it.
    pub fn epoch(&self, partition: usize) -> u64 {
        self.memory.header().partitions[partition]
            .epoch
            .load_acquire()
    }

    /// Publishes the epoch of a partition's new owner. Only that owner calls this.
    pub fn publish_epoch(&self, partition: usize, epoch: u64) {
        let word = &self.memory.header().partitions[partition].epoch;
        debug_assert!(word.load_relaxed() <= epoch, "an epoch went back");
        word.store_release(epoch);
    }

    // Heartbeats

    /// Sets the worker's heartbeat word; its own process calls this.
    pub fn beat(&self, worker: usize, value: u64) {
        self.memory.header().heartbeats[worker]
            .value
            .store_release(value);
    }

    /// The worker's last heartbeat word, 0 before the first.
    pub fn heartbeat(&self, worker: usize) -> u64 {
        self.memory.header().heartbeats[worker].value.load_acquire()
    }

    // Metrics

    /// Shows one of the worker's numbers; its own process calls this.
    pub fn show_metric(&self, worker: usize, index: usize, value: u64) {
        self.memory.header().metrics[worker].words[index].store_relaxed(value);
    }

    /// What a worker of that number shows, or the last one showed. Each number is one that it was;
    /// several need not be of the same moment.
    pub fn metrics(&self, worker: usize) -> [u64; METRICS_MAX] {
        let words = &self.memory.header().metrics[worker].words;
        std::array::from_fn(|index| words[index].load_relaxed())
    }
}

/// The worker's bit; panics on a worker that has none.
pub(crate) fn worker_bit(worker: usize) -> u64 {
    assert!(
        worker < WORKERS_MAX,
        "worker {worker} of at most {WORKERS_MAX}"
    );
    1 << worker
}

/// Hash of `kind`, tenant, 0 and id. Ids have no control characters, so the parts cannot run together.
fn hash(seed: u64, kind: u8, tenant: &[u8], id: &[u8]) -> u64 {
    const SHORT: usize = 128; // nearly all: one pass over the stack
    let length = tenant.len() + id.len() + 2;
    if length <= SHORT {
        let mut joined = [0; SHORT];
        joined[0] = kind;
        joined[1..=tenant.len()].copy_from_slice(tenant);
        joined[tenant.len() + 2..length].copy_from_slice(id);
        return xxh3_64_with_seed(&joined[..length], seed);
    }
    let mut hasher = Xxh3Builder::new().with_seed(seed).build();
    for part in [&[kind], tenant, &[0], id] {
        hasher.update(part);
    }
    hasher.digest()
}
