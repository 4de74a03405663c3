//! The engine's options as Python gives them: one mapping, see `EngineOptions` in the stub.

use imfast_engine::{Coalesce, DevicePolicy, EngineConfig, Network, Rates};
use imfast_wire::frames::server::Limits;
use imfast_wire::http::OriginPolicy;
use imfast_wire::rate::Rate;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Extracted item by item; a missing or ill-typed one is an error that names it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Options {
    worker: u8,
    workers: u8,
    server: String,
    incarnation: u64,
    owners: Vec<u8>,
    layout_generation: u32,
    hash_secret: Vec<u8>,
    link_paths: Vec<String>,
    allowed_origins: Vec<String>,
    compression: bool,
    body_bytes_max: u64,
    frame_bytes_max: u64,
    members_per_call_max: u64,
    page_items_max: u64,
    page_items_default: u32,
    header_bytes_max: usize,
    heartbeat_ms: u64,
    authenticate_ms: u64,
    unauthenticated_max: usize,
    connections_max: usize,
    requests_in_flight_max: u16,
    send_queue_bytes: usize,
    send_queue_frames: usize,
    link_queue_bytes: usize,
    dedupe_window_ms: u64,
    dedupe_disk_bytes: u64,
    batch_commands_max: usize,
    batch_bytes_max: usize,
    inbox_bytes_max: usize,
    rows_memory_bytes: usize,
    archive_batch_commands: u64,
    archive_cache_bytes: u64,
    group_members_max: usize,
    device_policy: String,
    cursor_log_ms: u64,
    receipt_members_max: usize,
    segment_bytes: u64,
    log_keep_bytes: u64,
    fan_out_slice_us: u64,
    fan_out_slice_sockets: usize,
    coalesce_ms: Option<u64>,
    checkpoint_ms: u64,
    catch_up_rows: u32,
    catch_up_bytes: u32,
    events_per_tick: usize,
    accepts_per_tick: usize,
    accept_rate: (u32, u32),
    connection_rate: (u32, u32),
    user_rate: (u32, u32),
    group_rate: (u32, u32),
    judge_addresses: bool,
    address_trusted: Vec<([u8; 16], u8)>,
    proxy_trusted: Vec<([u8; 16], u8)>,
    proxy_trusts_unix: bool,
}

impl Options {
    pub(crate) fn into_config(self) -> PyResult<EngineConfig> {
        let secret = self.hash_secret.as_slice();
        let hash_secret = secret
            .try_into()
            .map_err(|_| PyValueError::new_err("hash_secret: 16 bytes are needed"))?;
        let origins = match self.allowed_origins.as_slice() {
            [] => OriginPolicy::SameHost,
            [any] if any == "*" => OriginPolicy::Any,
            _ => OriginPolicy::List(self.allowed_origins),
        };
        let device_policy = match self.device_policy.as_str() {
            "any" => DevicePolicy::Any,
            "class" => DevicePolicy::Class,
            "newest" => DevicePolicy::Newest,
            other => {
                let text = format!("device_policy: {other}: any, class or newest");
                return Err(PyValueError::new_err(text));
            }
        };
        if self.owners.is_empty() || self.owners.iter().any(|owner| *owner >= self.workers) {
            return Err(PyValueError::new_err(
                "owners: every partition needs a worker",
            ));
        }
        if self.link_paths.len() != self.workers as usize {
            return Err(PyValueError::new_err("link_paths: one for every worker"));
        }
        Ok(EngineConfig {
            worker: self.worker,
            workers: self.workers,
            server: self.server,
            incarnation: self.incarnation,
            owners: self.owners,
            layout_generation: self.layout_generation,
            hash_secret,
            link_paths: self.link_paths,
            origins,
            compression: self.compression,
            limits: Limits {
                body_bytes: self.body_bytes_max,
                frame_bytes: self.frame_bytes_max,
                members_per_call: self.members_per_call_max,
                page_items: self.page_items_max,
            },
            http_head_bytes: self.header_bytes_max,
            page_items_default: self.page_items_default,
            heartbeat_ms: self.heartbeat_ms,
            authenticate_ms: self.authenticate_ms,
            unauthenticated_max: self.unauthenticated_max,
            connections_max: self.connections_max,
            in_flight_max: self.requests_in_flight_max,
            send_queue_bytes: self.send_queue_bytes,
            send_queue_frames: self.send_queue_frames,
            link_queue_bytes: self.link_queue_bytes,
            dedupe_window_ms: self.dedupe_window_ms,
            dedupe_disk_bytes: self.dedupe_disk_bytes,
            batch_commands: self.batch_commands_max,
            batch_bytes: self.batch_bytes_max,
            inbox_bytes: self.inbox_bytes_max,
            rows_bytes: self.rows_memory_bytes,
            archive_commands: self.archive_batch_commands,
            archive_cache_bytes: self.archive_cache_bytes,
            group_members_max: self.group_members_max,
            device_policy,
            cursor_log_ms: self.cursor_log_ms,
            receipt_members_max: self.receipt_members_max,
            segment_bytes: self.segment_bytes,
            log_keep_bytes: self.log_keep_bytes,
            fan_out_slice_us: self.fan_out_slice_us,
            fan_out_slice_sockets: self.fan_out_slice_sockets,
            coalesce: match self.coalesce_ms {
                None => Coalesce::Adaptive,
                Some(0) => Coalesce::Never,
                Some(wait_ms) => Coalesce::Within(wait_ms),
            },
            checkpoint_ms: self.checkpoint_ms,
            catch_up_rows: self.catch_up_rows,
            catch_up_bytes: self.catch_up_bytes,
            events_per_tick: self.events_per_tick,
            accepts_per_tick: self.accepts_per_tick,
            rates: Rates {
                accept: rate(self.accept_rate),
                connection: rate(self.connection_rate),
                user: rate(self.user_rate),
                group: rate(self.group_rate),
            },
            judge_addresses: self.judge_addresses,
            address_trusted: self.address_trusted.into_iter().map(network).collect(),
            proxy_trusted: self.proxy_trusted.into_iter().map(network).collect(),
            proxy_trusts_unix: self.proxy_trusts_unix,
        })
    }
}

/// From tokens a second, where 0 is no limit, and burst.
fn rate((per_second, burst): (u32, u32)) -> Option<Rate> {
    Rate::new(per_second, burst)
}

/// From an IPv6 address, in network order, and a prefix.
fn network((address, prefix): ([u8; 16], u8)) -> Network {
    Network {
        address: u128::from_be_bytes(address),
        prefix,
    }
}
