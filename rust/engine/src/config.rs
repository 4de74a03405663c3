//! What an engine is told at its start. Made by Python from the server's configuration.

use crate::arrivals::Network;
use crate::seats::DevicePolicy;
use imfast_wire::frames::server::Limits;
use imfast_wire::http::OriginPolicy;
use imfast_wire::rate::Rate;

/// When the frames of a group go to its subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coalesce {
    /// At the end of the tick, and while a fan-out runs, with what it still has to give to each: the
    /// more, the higher the load.
    #[default]
    Adaptive,
    /// Each by itself.
    Never,
    /// Together with those of so many milliseconds after it.
    Within(u64),
}

/// Everything fixed for the life of a worker. Sizes in bytes, times in milliseconds.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// This worker's number on its node.
    pub worker: u8,
    /// Workers of the node.
    pub workers: u8,
    /// Name told to clients, as in `n1.w0`.
    pub server: String,
    /// How often the supervisor has started this worker.
    pub incarnation: u64,
    /// Partitions of the layout, and which worker owns each.
    pub owners: Vec<u8>,
    pub layout_generation: u32,
    pub hash_secret: [u8; 16],
    /// Unix sockets of the workers' links, by worker.
    pub link_paths: Vec<String>,
    pub origins: OriginPolicy,
    /// Whether clients that offer permessage-deflate get it.
    pub compression: bool,
    pub limits: Limits,
    pub http_head_bytes: usize,
    pub page_items_default: u32,
    pub heartbeat_ms: u64,
    pub authenticate_ms: u64,
    pub unauthenticated_max: usize,
    pub connections_max: usize,
    /// Unanswered sends of one connection before its socket is no longer read.
    pub in_flight_max: u16,
    pub send_queue_bytes: usize,
    pub send_queue_frames: usize,
    pub link_queue_bytes: usize,
    /// How long a retry is recognised by its key.
    pub dedupe_window_ms: u64,
    /// Bytes of keys that a partition's archive keeps.
    pub dedupe_disk_bytes: u64,
    /// Commands and bytes of one batch.
    pub batch_commands: usize,
    pub batch_bytes: usize,
    /// Bytes of commands that wait for a batch before senders are told to slow down.
    pub inbox_bytes: usize,
    /// Bytes of rows a partition holds in memory: archived ones beyond it go, and while rows that
    /// are not archived yet exceed it, commands wait.
    pub rows_bytes: usize,
    /// Commands that the archive takes in one write, unless their rows fill a quarter of
    /// `rows_bytes` before.
    pub archive_commands: u64,
    /// Bytes of blocks that a partition's archive keeps in memory.
    pub archive_cache_bytes: u64,
    pub group_members_max: usize,
    pub device_policy: DevicePolicy,
    /// How often cursors are logged; a multiple of 250.
    pub cursor_log_ms: u64,
    /// In conversations of more members than this, senders are told nothing of their own accord.
    pub receipt_members_max: usize,
    /// Length at which a segment of a log is followed by a new one.
    pub segment_bytes: u64,
    /// Bytes of a log's newest segments that stay although nobody needs them.
    pub log_keep_bytes: u64,
    /// How long one tick works on fan-outs, in microseconds, and how many sockets of one group it
    /// writes before the next group's turn.
    pub fan_out_slice_us: u64,
    pub fan_out_slice_sockets: usize,
    pub coalesce: Coalesce,
    /// How often sessions are told their newest sync token; a multiple of 250.
    pub checkpoint_ms: u64,
    /// Rows and bytes of one page of a catch-up.
    pub catch_up_rows: u32,
    pub catch_up_bytes: u32,
    /// Ready descriptors, and new connections of one listener, that one tick takes.
    pub events_per_tick: usize,
    pub accepts_per_tick: usize,
    pub rates: Rates,
    /// Whether new connections wait for a verdict about their addresses; see
    /// [`crate::Engine::judge_arrivals`].
    pub judge_addresses: bool,
    /// Addresses that need none.
    pub address_trusted: Vec<Network>,
    /// Proxies that are believed where their clients are; whether one on a Unix socket is, too.
    pub proxy_trusted: Vec<Network>,
    pub proxy_trusts_unix: bool,
}

impl EngineConfig {
    /// Whether any proxy is believed.
    pub(crate) fn proxies_trusted(&self) -> bool {
        self.proxy_trusts_unix || !self.proxy_trusted.is_empty()
    }
}

/// How often things may be done here; none: as often as it comes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// New connections of this worker.
    pub accept: Option<Rate>,
    /// Requests of one connection.
    pub connection: Option<Rate>,
    /// Requests of one user's connections to this worker together.
    pub user: Option<Rate>,
    /// Messages to one group and changes of it, from everybody.
    pub group: Option<Rate>,
}

#[cfg(any(test, feature = "fuzzing"))]
impl EngineConfig {
    /// Small bounds, and a partition for each worker.
    pub fn example(workers: u8) -> Self {
        Self {
            worker: 0,
            workers,
            server: "n1.w0".to_owned(),
            incarnation: 1,
            owners: (0..workers).collect(),
            layout_generation: 1,
            hash_secret: [0; 16],
            link_paths: vec![String::new(); workers.into()],
            origins: OriginPolicy::SameHost,
            compression: false,
            limits: Limits {
                frame_bytes: 1 << 16,
                ..Limits::default()
            },
            http_head_bytes: 8192,
            page_items_default: 50,
            heartbeat_ms: 25_000,
            authenticate_ms: 5_000,
            unauthenticated_max: 16,
            connections_max: 16,
            in_flight_max: 16,
            send_queue_bytes: 1 << 20,
            send_queue_frames: 1024,
            link_queue_bytes: 1 << 20,
            dedupe_window_ms: 1_000,
            dedupe_disk_bytes: 1 << 20,
            batch_commands: 16,
            batch_bytes: 1 << 20,
            inbox_bytes: 1 << 20,
            rows_bytes: 1 << 20,
            archive_commands: 64,
            archive_cache_bytes: 1 << 20,
            group_members_max: 16,
            device_policy: DevicePolicy::Any,
            cursor_log_ms: 250,
            receipt_members_max: 500,
            segment_bytes: 1 << 20,
            log_keep_bytes: 1 << 20,
            fan_out_slice_us: 1_000,
            fan_out_slice_sockets: 16,
            coalesce: Coalesce::Adaptive,
            checkpoint_ms: 1_000,
            catch_up_rows: 16,
            catch_up_bytes: 1 << 16,
            events_per_tick: 64,
            accepts_per_tick: 16,
            rates: Rates::default(),
            judge_addresses: false,
            address_trusted: Vec::new(),
            proxy_trusted: Vec::new(),
            proxy_trusts_unix: false,
        }
    }
}
