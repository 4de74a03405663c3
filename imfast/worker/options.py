"""The engine's options from the worker's start document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imfast.config.coalesce import coalesce_ms
from imfast.config.networks import UNIX, packed_network
from imfast.config.worker_document import WorkerDocument

if TYPE_CHECKING:
    from imfast._engine import EngineOptions

__all__ = ["engine_options", "rate_and_burst"]


def engine_options(document: WorkerDocument) -> EngineOptions:
    """Units become the engine's: bytes, milliseconds, microseconds for slices of a tick."""
    settings, layout = document.settings, document.layout
    return {
        "worker": document.index,
        "workers": document.workers,
        "server": document.server,
        "incarnation": document.incarnation,
        "owners": [number % document.workers for number in range(layout.partitions)],
        "layout_generation": layout.generation,
        "hash_secret": bytes.fromhex(layout.hash_secret),
        "link_paths": list(document.link_paths),
        "allowed_origins": list(settings.allowed_origins),
        "compression": settings.compression == "on",
        "body_bytes_max": settings.body_bytes_max,
        "frame_bytes_max": settings.frame_bytes_max,
        "members_per_call_max": settings.members_per_call_max,
        "page_items_max": settings.page_items_max,
        "page_items_default": settings.page_items_default,
        "header_bytes_max": settings.header_bytes_max,
        "heartbeat_ms": int(settings.heartbeat_s * 1000),
        "authenticate_ms": int(settings.authenticate_timeout_s * 1000),
        "unauthenticated_max": settings.unauthenticated_max,
        "connections_max": settings.connections_max,
        "requests_in_flight_max": settings.requests_in_flight_max,
        "send_queue_bytes": settings.send_queue_bytes,
        "send_queue_frames": settings.send_queue_frames,
        "link_queue_bytes": settings.link_queue_bytes,
        "dedupe_window_ms": int(settings.dedupe_window_s * 1000),
        "dedupe_disk_bytes": settings.dedupe_disk_bytes,
        "batch_commands_max": settings.batch_commands_max,
        "batch_bytes_max": settings.batch_bytes_max,
        "inbox_bytes_max": settings.inbox_bytes_max,
        "rows_memory_bytes": settings.rows_memory_bytes,
        "archive_batch_commands": settings.archive_batch_commands,
        "archive_cache_bytes": settings.archive_cache_bytes,
        "group_members_max": settings.group_members_max,
        "device_policy": settings.device_policy,
        "cursor_log_ms": round(settings.cursor_log_s * 1000),
        "receipt_members_max": settings.receipt_members_max,
        "segment_bytes": settings.segment_bytes,
        "log_keep_bytes": settings.log_keep_bytes,
        "fan_out_slice_us": round(settings.fan_out_slice_s * 1_000_000),
        "fan_out_slice_sockets": settings.fan_out_slice_sockets,
        "coalesce_ms": coalesce_ms(settings.coalesce),
        "checkpoint_ms": round(settings.checkpoint_s * 1000),
        "catch_up_rows": settings.catch_up_page_rows,
        "catch_up_bytes": settings.catch_up_page_bytes,
        "events_per_tick": settings.events_per_tick,
        "accepts_per_tick": settings.accepts_per_tick,
        "accept_rate": rate_and_burst(settings.accept_rate, settings.rate_burst_s),
        "connection_rate": rate_and_burst(settings.connection_rate, settings.rate_burst_s),
        "user_rate": rate_and_burst(settings.user_rate, settings.rate_burst_s),
        "group_rate": rate_and_burst(settings.group_rate, settings.rate_burst_s),
        "judge_addresses": settings.address_rate > 0,
        "address_trusted": list(map(packed_network, settings.address_trusted)),
        "proxy_trusted": [packed_network(name) for name in settings.proxy_trusted if name != UNIX],
        "proxy_trusts_unix": UNIX in settings.proxy_trusted,
    }


def rate_and_burst(per_second: int, burst_s: float) -> tuple[int, int]:
    """Tokens a second, and those in a full bucket."""
    return per_second, max(1, round(per_second * burst_s))
