"""Which options are turned, over which values, and under which work each shows what it does."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.tuning.works import Idle, Kills, Loads, Returns, Stalled, Work

__all__ = ["KNOBS", "LEFT_OUT", "Knob"]


@dataclass(frozen=True)
class Knob:
    """One option, the values to try, and the work that shows it."""

    option: str
    values: tuple[str, ...]
    work: Work
    workers: int = 1
    flags: tuple[str, ...] = ()
    """Of the server besides: they make the knob matter."""


FAN_OUT = Loads(
    "one group of 1,000, ephemeral: flat out with a window of 32, and 100 messages a second",
    "fanout",
    1000,
    ("--window", 32, "--ephemeral"),
    ("--rate", 100, "--ephemeral"),
    per="delivery",
    rate_field="delivered_per_second",
)
SINGLE = Loads(
    "500 senders in pairs, durable: flat out with a window of 16, and 5,000 messages a second",
    "direct",
    500,
    ("--window", 16),
    ("--rate", 5000),
)
BURSTS = Loads(
    "500 senders in pairs, durable: flat out with a window of 16 in one write, and 5,000 messages"
    " a second",
    "direct",
    500,
    ("--window", 16, "--write", "batch"),
    ("--rate", 5000),
)
SPARSE = Loads(
    "500 senders in pairs, durable: flat out with a window of 1, and 2,000 messages a second",
    "direct",
    500,
    ("--window", 1),
    ("--rate", 2000),
)
CONNECTING = Loads(
    "2,000 connections that are opened, 128 at a time; how long one takes",
    "connect",
    2000,
    (),
    (),
    transport="ws-json",
    per="connect",
    rate_field="connects_per_second",
)

CROWDED = Loads(
    "1,000 connections that are opened 512 at a time; how long one takes",
    "connect",
    1000,
    ("--concurrency", 512),
    (),
    transport="ws-json",
    per="connect",
    rate_field="connects_per_second",
)
MANY = Loads(
    "4,000 senders in pairs, ephemeral: flat out with a window of 4, and 5,000 messages a second",
    "direct",
    4000,
    ("--window", 4, "--ephemeral"),
    ("--rate", 5000, "--ephemeral"),
)
READING = Loads(
    "1,000 connections in groups of 10 that ask for the newest page of their group as often as they"
    " send to it: flat out with a window of 4, and 2,000 requests a second",
    "mixed",
    1000,
    ("--mix", "group=50,history=50", "--window", 4),
    ("--mix", "group=50,history=50", "--rate", 2000),
    per="request",
    rate_field="requests_per_second",
)
STALLED = Stalled(
    "a group of 400 of whom 200 do not read; 100 messages of 4 KiB a second, ephemeral",
    200,
    200,
    ("--rate", 100, "--body-bytes", 4096, "--ephemeral"),
)
RETURNS = Returns(
    "8 users come back again and again to some thousand messages that they missed, while 100"
    " senders in pairs send 2,000 messages a second, whose latency this is",
    8,
    ("--rate", 2000),
)
IDLE = Idle("2,000 connections that say nothing but their heartbeats", 2000)
KILLS = Kills("each of two workers is killed once; milliseconds until its successor serves")

KNOBS = (
    Knob("workers", ("1", "2", "4"), SINGLE),
    Knob("partitions", ("1", "2", "4", "16"), SINGLE, workers=2),
    Knob("cpu_affinity", ("off", "auto"), SINGLE, workers=2),
    Knob("spare_workers", ("0", "1", "2"), KILLS, workers=2),
    Knob("durability", ("os", "fsync"), SPARSE),
    Knob("coalesce", ("adaptive", "0", "1", "5", "20"), FAN_OUT),
    Knob("fan_out_slice_sockets", ("1", "16", "64", "256", "1024"), FAN_OUT),
    Knob("fan_out_slice_s", ("0.1ms", "0.3ms", "1ms", "3ms", "10ms"), FAN_OUT),
    Knob("compression", ("off", "on"), FAN_OUT),
    Knob("send_queue_bytes", ("160KiB", "512KiB", "1MiB", "4MiB"), STALLED),
    Knob("send_queue_frames", ("16", "64", "256", "8192"), STALLED),
    Knob("socket_unsent_bytes", ("16KiB", "64KiB", "256KiB", "1MiB"), STALLED),
    Knob("batch_commands_max", ("16", "64", "256", "1024", "4096"), BURSTS),
    Knob("batch_bytes_max", ("160KiB", "512KiB", "4MiB", "16MiB"), BURSTS),
    Knob("inbox_bytes_max", ("1MiB", "8MiB", "64MiB"), BURSTS),
    Knob("segment_bytes", ("1MiB", "4MiB", "16MiB", "64MiB"), BURSTS),
    Knob("dedupe_entries_max", ("1024", "65536", "1000000", "4000000"), BURSTS),
    Knob("archive_batch_commands", ("1024", "8192", "32768", "262144"), BURSTS),
    Knob("rows_memory_bytes", ("1MiB", "8MiB", "64MiB"), READING),
    Knob(
        "archive_cache_bytes",
        ("1MiB", "8MiB", "32MiB", "128MiB"),
        READING,
        flags=("--rows-memory-bytes", "1MiB"),
    ),
    Knob("link_queue_bytes", ("1MiB", "8MiB", "64MiB"), BURSTS, workers=2),
    Knob("route_buckets", ("1024", "4096", "65536", "1048576"), MANY),
    Knob("events_per_tick", ("8", "32", "128", "512", "2048"), SINGLE),
    Knob("checkpoint_s", ("0.25s", "1s", "5s", "30s"), SPARSE),
    Knob("heartbeat_s", ("1s", "5s", "25s", "100s"), IDLE),
    Knob("catch_up_page_rows", ("16", "64", "256", "4096"), RETURNS),
    Knob(
        "catch_up_page_bytes",
        ("4KiB", "32KiB", "128KiB", "2MiB"),
        RETURNS,
        flags=("--catch-up-page-rows", "10000"),
    ),
    Knob("accepts_per_tick", ("4", "16", "64", "256"), CONNECTING),
    Knob("accept_backlog", ("16", "128", "1024", "4096"), CROWDED),
    Knob("control_slice_s", ("0.1ms", "1ms", "10ms"), CONNECTING),
)

LEFT_OUT = {
    "where and who": (
        *("host", "port", "tcp_port", "admin_port", "node", "role", "data_dir", "ready_file"),
        *("jwt_algorithm", "jwt_secret_file", "jwt_public_key_file", "jwt_issuer"),
        *("jwt_audience", "jwt_leeway_s", "allowed_origins", "log_level", "log_format"),
        *("jwt_jwks_file", "unix_path", "unix_mode", "proxy_trusted", "tls_port", "tls_cert"),
        *("tls_key", "tls_ocsp", "tls_client_ca", "tls_client_certificates", "tls_client_user"),
        *("device_policy",),
    ),
    "how long, by what clients and operators need": (
        *("drain_s", "authenticate_timeout_s", "dedupe_window_s", "cursor_log_s", "tls_ticket_s"),
        *("log_keep_bytes", "dedupe_disk_bytes", "receipt_members_max"),
    ),
    "how much a client may, for safety": (
        *("connections_max", "unauthenticated_max", "header_bytes_max", "frame_bytes_max"),
        *("body_bytes_max", "requests_in_flight_max", "members_per_call_max", "page_items_max"),
        *("page_items_default", "group_members_max", "accept_rate", "address_rate"),
        *("address_trusted", "connection_rate", "user_rate", "group_rate", "rate_burst_s"),
    ),
    "what follows a commit, beside the server": (
        *("after_commit", "outbox_batch_effects", "outbox_call_timeout_s", "outbox_backoff_s"),
        *("outbox_backoff_max_s", "outbox_attempts_max", "outbox_expiry_s", "outbox_waiting_max"),
    ),
}
"""Options that are no knobs, by what they are instead."""
