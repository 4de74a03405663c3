"""The options that a worker uses, as the supervisor has checked them.

A worker takes them as they are: loading what checks them is a large part of a Python program's
start, and a worker's start is somebody's outage. The schema has units and meanings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

__all__ = ["WorkerSettings"]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Each field is the option of the same name in imfast.config.schema."""

    data_dir: Path
    durability: Literal["fsync", "os"]
    drain_s: float
    log_level: str
    log_format: str
    cpu_affinity: str

    jwt_algorithm: Literal["HS256", "RS256", "EdDSA"]
    jwt_secret_file: Path | None
    jwt_public_key_file: Path | None
    jwt_jwks_file: Path | None
    jwt_issuer: str | None
    jwt_audience: str | None
    jwt_leeway_s: float

    allowed_origins: tuple[str, ...]
    compression: Literal["off", "on"]
    connections_max: int
    unauthenticated_max: int
    authenticate_timeout_s: float
    heartbeat_s: float
    header_bytes_max: int
    frame_bytes_max: int
    body_bytes_max: int
    requests_in_flight_max: int
    members_per_call_max: int
    page_items_max: int
    page_items_default: int
    group_members_max: int
    device_policy: str
    cursor_log_s: float
    receipt_members_max: int
    send_queue_bytes: int
    send_queue_frames: int

    accept_rate: int
    address_rate: int
    address_trusted: tuple[str, ...]
    proxy_trusted: tuple[str, ...]
    tls_client_user: Literal["off", "name", "email"]
    connection_rate: int
    user_rate: int
    group_rate: int
    rate_burst_s: float

    events_per_tick: int
    accepts_per_tick: int
    control_slice_s: float
    fan_out_slice_s: float
    fan_out_slice_sockets: int
    coalesce: str
    checkpoint_s: float
    catch_up_page_rows: int
    catch_up_page_bytes: int

    link_queue_bytes: int
    rows_memory_bytes: int
    archive_batch_commands: int
    archive_cache_bytes: int
    dedupe_entries_max: int
    dedupe_window_s: float
    batch_commands_max: int
    batch_bytes_max: int
    inbox_bytes_max: int
    segment_bytes: int
    after_commit: tuple[str, ...]
    log_keep_bytes: int
    dedupe_disk_bytes: int

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> WorkerSettings:
        """Takes what it needs of all options as JSON values, as `Settings.document` writes them.

        Raises:
            ValueError: the supervisor has not resolved an option.
        """
        values = {field.name: options[field.name] for field in fields(cls)}
        if values["connections_max"] is None:
            raise ValueError("the supervisor resolves connections_max")
        for name in ("data_dir", "jwt_secret_file", "jwt_public_key_file", "jwt_jwks_file"):
            values[name] = None if values[name] is None else Path(values[name])
        for name in ("allowed_origins", "address_trusted", "proxy_trusted", "after_commit"):
            values[name] = tuple(values[name])
        return cls(**values)
