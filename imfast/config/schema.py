"""Every option of the server, in one place: type, default, unit, range, when to touch it.

The fields are read by the flags of `imfast serve`, by `imfast config show` and by the error
messages; nothing about an option is written a second time. Values are validated once, in
`load`, and are native units from then on: bytes, seconds, absolute paths.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from imfast import limits
from imfast.config.affinity import cores
from imfast.config.kinds import (
    AbsolutePath,
    Affinity,
    Bytes,
    Coalesce,
    Consumers,
    Count,
    Names,
    Networks,
    Paths,
    Proxies,
    Seconds,
)
from imfast.config.option import option
from imfast.config.worker_document import PARTITIONS_MAX

__all__ = ["WORKERS_MAX", "Settings"]

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

WORKERS_MAX = 62
"""A route is a 64-bit mask of workers, two bits of which the table needs for itself."""


class Settings(BaseModel):
    """The validated options. Built by `load`, which knows where each value came from."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    # Where and how the server runs.
    host: str = option(
        "127.0.0.1",
        allowed="an address of this machine, or a name of one",
        when="Address for clients; touch it to serve others than this machine.",
    )
    port: Count = option(
        8080, minimum=0, maximum=65535, when="Port of WebSocket and HTTP; 0: the kernel chooses."
    )
    tcp_port: Count = option(
        9000, minimum=0, maximum=65535, when="Port of framed TCP; 0: the kernel chooses."
    )
    unix_path: AbsolutePath | None = option(
        None,
        allowed="a path",
        when="Unix socket that speaks what port speaks; for a proxy on this machine.",
    )
    unix_mode: Literal["600", "660", "666"] = option(
        "660", when="Who may use unix_path: its owner, its group as well, or everybody."
    )
    proxy_trusted: Proxies = option(
        (),
        allowed="networks like 10.0.0.0/8, comma-separated; unix for the Unix socket; none",
        when="Proxies whose PROXY header or Forwarded names the client; only such as set it.",
    )
    admin_port: Count = option(
        8081,
        minimum=0,
        maximum=65535,
        when="Port of health and status, on loopback only; 0: the kernel chooses.",
    )
    node: str = option(
        "n1",
        allowed="1 to 32 of a-z, 0-9 and -",
        when="Name of this node, as clients see it in `connected`; one name per machine.",
    )
    role: Literal["all", "gateway", "partition"] = option(
        "all", when="What this node does; one machine alone does all."
    )
    workers: Count | None = option(
        None,
        minimum=1,
        maximum=WORKERS_MAX,
        computed="processor cores",
        when="Processes; more than cores only where the limit of open files asks for it.",
    )
    spare_workers: Count = option(
        1,
        minimum=0,
        maximum=WORKERS_MAX,
        when="Waiting replacements of dead workers, about 7 MB each; 0: forked when one dies.",
    )
    partitions: Count | None = option(
        None,
        minimum=1,
        maximum=PARTITIONS_MAX,
        computed="as laid out; at first processor cores",
        when="Logs that share the work; fixed when the data directory is made.",
    )
    data_dir: AbsolutePath = option(
        Path("data"), allowed="a directory of one server", when="Where everything durable is kept."
    )
    durability: Literal["fsync", "os"] = option(
        "fsync",
        when="What an ack survives: fsync a power cut, os the kill of every process only.",
    )
    ready_file: AbsolutePath | None = option(
        None, allowed="a path", when="File written when clients can connect; for supervision."
    )
    drain_s: Seconds = option(
        10.0,
        unit="seconds",
        minimum=0,
        maximum=600,
        when="Time to send clients away and finish; below your service manager's patience.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = option(
        "info", when="Least severe log line that is written."
    )
    log_format: Literal["auto", "json", "console"] = option(
        "auto", when="Form of log lines; auto: console on a terminal, JSON otherwise."
    )

    # TLS.
    tls_cert: Paths = option(
        (),
        allowed="paths of PEM files, comma-separated",
        when="Certificates, each with its chain; set it for TLS. The first is for unknown names.",
    )
    tls_key: Paths = option(
        (),
        allowed="paths of PEM files, comma-separated",
        when="Private keys, in the order of tls_cert.",
    )
    tls_ocsp: Paths = option(
        (),
        allowed="paths of DER files, comma-separated",
        when="OCSP responses to staple, in the order of tls_cert; an empty file staples none.",
    )
    tls_port: Count = option(
        8443,
        minimum=0,
        maximum=65535,
        when="Port that speaks nothing but TLS, with tls_cert; 0: the kernel chooses.",
    )
    tls_client_certificates: Literal["off", "optional", "required"] = option(
        "off", when="Whether clients show certificates (mTLS); optional: or a token instead."
    )
    tls_client_ca: AbsolutePath | None = option(
        None, allowed="a path of a PEM file", when="Authorities that sign clients' certificates."
    )
    tls_client_user: Literal["off", "name", "email"] = option(
        "off",
        when="User of a client without token: its certificate's common name, or e-mail address.",
    )
    tls_ticket_s: Seconds = option(
        43_200.0,
        unit="seconds",
        minimum=60,
        maximum=302_400,
        when="Between new keys of session tickets, valid twice as long; lower it for secrecy.",
    )

    # What clients may do and take.
    allowed_origins: Names = option(
        (),
        allowed="origins like https://chat.example, comma-separated; * for any",
        when="Web pages that may connect besides those served from the same host.",
    )
    compression: Literal["off", "on"] = option(
        "off",
        when="permessage-deflate for clients that offer it; for slow links, at 6 us a small frame.",
    )
    connections_max: Count | None = option(
        None,
        minimum=1,
        maximum=4_000_000,
        computed="limit of open files less 512",
        when="Connections per worker; lower it to protect memory.",
    )
    unauthenticated_max: Count = option(
        limits.UNAUTHENTICATED_CONNECTIONS.default,
        minimum=limits.UNAUTHENTICATED_CONNECTIONS.min,
        maximum=limits.UNAUTHENTICATED_CONNECTIONS.max,
        when="Connections per worker not authenticated yet; raise it for mass reconnects.",
    )
    authenticate_timeout_s: Seconds = option(
        limits.AUTHENTICATE_MS.default / 1000,
        unit="seconds",
        minimum=limits.AUTHENTICATE_MS.min / 1000,
        maximum=limits.AUTHENTICATE_MS.max / 1000,
        when="Time from accept to a good token; raise it for slow mobile networks.",
    )
    heartbeat_s: Seconds = option(
        limits.HEARTBEAT_MS.default / 1000,
        unit="seconds",
        minimum=limits.HEARTBEAT_MS.min / 1000,
        maximum=limits.HEARTBEAT_MS.max / 1000,
        when="Quiet time after which a client says ping; below the timeout of your proxies.",
    )
    header_bytes_max: Bytes = option(
        limits.HTTP_HEAD_BYTES.default,
        unit="bytes",
        minimum=limits.HTTP_HEAD_BYTES.min,
        maximum=limits.HTTP_HEAD_BYTES.max,
        when="Largest head of an HTTP request; raise it for large cookies.",
    )
    frame_bytes_max: Bytes = option(
        limits.FRAME_BYTES.default,
        unit="bytes",
        minimum=limits.FRAME_BYTES.min,
        maximum=limits.FRAME_BYTES.max,
        when="Largest frame from a client; it bounds what a stranger makes us allocate.",
    )
    body_bytes_max: Bytes = option(
        limits.BODY_BYTES.default,
        unit="bytes",
        minimum=limits.BODY_BYTES.min,
        maximum=limits.BODY_BYTES.max,
        when="Largest body of a message; the frame has room for 16 KiB more.",
    )
    requests_in_flight_max: Count = option(
        limits.REQUESTS_IN_FLIGHT.default,
        minimum=limits.REQUESTS_IN_FLIGHT.min,
        maximum=limits.REQUESTS_IN_FLIGHT.max,
        when="Unanswered requests of one connection; raise it for bridges that send for many.",
    )
    members_per_call_max: Count = option(
        limits.MEMBERS_PER_CALL.default,
        minimum=limits.MEMBERS_PER_CALL.min,
        maximum=limits.MEMBERS_PER_CALL.max,
        when="Users named in one create, add or remove; raise it for imports.",
    )
    page_items_max: Count = option(
        limits.PAGE_ITEMS.default,
        minimum=limits.PAGE_ITEMS.min,
        maximum=limits.PAGE_ITEMS.max,
        when="Items of one page; lower it to bound what one request costs.",
    )
    page_items_default: Count = option(
        limits.PAGE_ITEMS_DEFAULT.default,
        minimum=limits.PAGE_ITEMS_DEFAULT.min,
        maximum=limits.PAGE_ITEMS_DEFAULT.max,
        when="Items of a page whose request names no limit; what your clients show at once.",
    )
    group_members_max: Count = option(
        100_000,
        minimum=2,
        maximum=1_000_000,
        when="Members of one group; lower it to bound what one message costs.",
    )
    device_policy: Literal["any", "class", "newest"] = option(
        "any",
        when="Who is told `kicked` as a user connects again: the same device, its class, or all.",
    )
    receipt_members_max: Count = option(
        500,
        minimum=0,
        maximum=100_000,
        when="Senders are told who got a message up to so many members; above they ask how many.",
    )
    cursor_log_s: Seconds = option(
        1.0,
        unit="seconds",
        minimum=0.25,
        maximum=60,
        when="How often acks and reads are logged; longer writes less, a crash shows more unread.",
    )
    send_queue_bytes: Bytes = option(
        1 * MIB,
        unit="bytes",
        minimum=16 * KIB,
        maximum=1 * GIB,
        when="What may wait for a slow connection before it is closed.",
    )
    send_queue_frames: Count = option(
        8192,
        minimum=16,
        maximum=1 << 20,
        when="Frames that may wait for a slow connection before it is closed.",
    )
    socket_unsent_bytes: Bytes = option(
        256 * KIB,
        unit="bytes",
        minimum=16 * KIB,
        maximum=1 * GIB,
        when="What the kernel may hold unsent for a slow connection, besides its send queue.",
    )

    # The tick of a worker: what it does before it looks at its sockets again.
    events_per_tick: Count = option(
        512,
        minimum=1,
        maximum=1 << 16,
        when="Ready sockets read in one tick; lower it for shorter ticks under full load.",
    )
    accepts_per_tick: Count = option(
        64,
        minimum=1,
        maximum=1 << 16,
        when="Connections accepted in one tick; lower it to shield messages from mass reconnects.",
    )
    accept_rate: Count = option(
        0,
        minimum=0,
        maximum=1_000_000,
        when="New connections a second, per worker; 0: all. Bounds what mass reconnects cost.",
    )
    address_rate: Count = option(
        1_000,
        minimum=0,
        maximum=1_000_000,
        when="New connections a second of one address, per worker; 0: all. IPv6: of a /64.",
    )
    address_trusted: Networks = option(
        ("127.0.0.0/8", "::1/128"),
        allowed="networks like 10.0.0.0/8, comma-separated; none for no network",
        when="Addresses without address_rate; add those of your proxies.",
    )
    connection_rate: Count = option(
        0,
        minimum=0,
        maximum=1_000_000,
        when="Requests a second of one connection; 0: all. Set it above what your clients do.",
    )
    user_rate: Count = option(
        0,
        minimum=0,
        maximum=1_000_000,
        when="Requests a second of one user's connections to a worker; 0: all.",
    )
    group_rate: Count = option(
        0,
        minimum=0,
        maximum=1_000_000,
        when="Messages and changes a second of one group; 0: all. Bounds what a fan-out costs.",
    )
    rate_burst_s: Seconds = option(
        2.0,
        unit="seconds",
        minimum=0.001,
        maximum=3600,
        when="What the rates let through at once: so many seconds' worth, at least 1.",
    )
    accept_backlog: Count = option(
        4096,
        minimum=1,
        maximum=1 << 16,
        when="Connections that wait to be accepted, per worker; net.core.somaxconn bounds it.",
    )
    control_slice_s: Seconds = option(
        0.001,
        unit="seconds",
        minimum=0.0001,
        maximum=0.1,
        when="Time for tokens and other control verbs in one tick; all of it delays messages.",
    )
    fan_out_slice_s: Seconds = option(
        0.001,
        unit="seconds",
        minimum=0.0001,
        maximum=0.1,
        when="Time for fan-outs in one tick; longer coalesces more and delays other traffic.",
    )
    fan_out_slice_sockets: Count = option(
        256,
        minimum=1,
        maximum=1 << 20,
        when="Sockets of one group written before the next group's turn; lower is fairer.",
    )
    coalesce: Coalesce = option(
        "adaptive",
        allowed="adaptive | 0 | milliseconds up to 1000",
        when="How frames to a group share writes: by load, each alone, or by waiting that long.",
    )
    checkpoint_s: Seconds = option(
        1.0,
        unit="seconds",
        minimum=0.25,
        maximum=60,
        when="How often sessions get a sync token; longer is less traffic, more repeats on resume.",
    )
    catch_up_page_rows: Count = option(
        256,
        minimum=1,
        maximum=10_000,
        when="Rows of one page of a catch-up; lower it to shield live messages from returners.",
    )
    catch_up_page_bytes: Bytes = option(
        128 * KIB,
        unit="bytes",
        minimum=4 * KIB,
        maximum=16 * MIB,
        when="Bytes of one page of a catch-up; larger is quicker where clients are far behind.",
    )
    cpu_affinity: Affinity = option(
        "off",
        allowed="auto | off | processors like 0,2-5",
        when="Processors of the workers in turn; auto: one each. Touch it on dedicated machines.",
    )

    # Links and partitions.
    link_queue_bytes: Bytes = option(
        64 * MIB,
        unit="bytes",
        minimum=1 * MIB,
        maximum=16 * GIB,
        when="What may wait for another worker before its link is broken and replayed.",
    )
    route_buckets: Count | None = option(
        None,
        minimum=1 << 10,
        maximum=1 << 26,
        computed="one for each connection that all workers may hold",
        when="Buckets of 128 B for two users or groups each; raise it for many groups a user.",
    )
    rows_memory_bytes: Bytes = option(
        64 * MIB,
        unit="bytes",
        minimum=1 * MIB,
        maximum=1 * TIB,
        when="Memory per partition for messages; older ones are read from the archive on disk.",
    )
    archive_batch_commands: Count = option(
        32_768,
        minimum=64,
        maximum=1 << 22,
        when="Commands the archive takes at a time; a start folds up to thrice as many again.",
    )
    archive_cache_bytes: Bytes = option(
        32 * MIB,
        unit="bytes",
        minimum=1 * MIB,
        maximum=1 * TIB,
        when="Memory per partition for archived messages that are read; raise it for much history.",
    )
    dedupe_entries_max: Count = option(
        1_000_000,
        minimum=1024,
        maximum=1 << 28,
        when="Idempotency keys per partition in memory, about 72 B each; older ones are on disk.",
    )
    dedupe_disk_bytes: Bytes = option(
        1 * GIB,
        unit="bytes",
        minimum=0,
        maximum=64 * GIB,
        when="Disk per partition for idempotency keys, about 68 B each; a 32nd of it in memory.",
    )
    dedupe_window_s: Seconds = option(
        86400.0,
        unit="seconds",
        minimum=60,
        maximum=7 * 86400,
        when="How long a retry finds the first result, if all keys fit; see `dedupe_covered_s`.",
    )
    batch_commands_max: Count = option(
        4096,
        minimum=1,
        maximum=1 << 16,
        when="Commands that share one sync; lower it to bound the longest fold.",
    )
    batch_bytes_max: Bytes = option(
        4 * MIB,
        unit="bytes",
        minimum=64 * KIB,
        maximum=64 * MIB,
        when="Bytes that share one sync; lower it on slow disks.",
    )

    inbox_bytes_max: Bytes = option(
        64 * MIB,
        unit="bytes",
        minimum=1 * MIB,
        maximum=16 * GIB,
        when="Commands that may wait for a batch, per partition; then senders are slowed down.",
    )
    segment_bytes: Bytes = option(
        64 * MIB,
        unit="bytes",
        minimum=1 * MIB,
        maximum=16 * GIB,
        when="Length of a log's files; shorter ones free the disk sooner, longer ones are fewer.",
    )
    log_keep_bytes: Bytes = option(
        256 * MIB,
        unit="bytes",
        minimum=0,
        maximum=1024 * TIB,
        when="Log per partition that stays although archive and readers have it; for inspection.",
    )

    # What follows a commit outside of the server.
    after_commit: Consumers = option(
        (),
        allowed="[NAME=]MODULE:FUNCTION, comma separated",
        when="Python functions that get what was committed: push, webhooks, search.",
    )
    outbox_batch_effects: Count = option(
        256,
        minimum=1,
        maximum=10_000,
        when="Messages and events handed to a consumer in one call; lower it for slow ones.",
    )
    outbox_call_timeout_s: Seconds = option(
        60.0,
        unit="seconds",
        minimum=0.1,
        maximum=3600,
        when="How long a consumer's call may take; then its process is started again.",
    )
    outbox_backoff_s: Seconds = option(
        1.0,
        unit="seconds",
        minimum=0.01,
        maximum=3600,
        when="Delay before the second attempt of what a consumer failed at; then it doubles.",
    )
    outbox_backoff_max_s: Seconds = option(
        300.0,
        unit="seconds",
        minimum=0.01,
        maximum=86400,
        when="Longest delay between two attempts; below what the receiver's outages last.",
    )
    outbox_attempts_max: Count = option(
        50,
        minimum=1,
        maximum=1_000_000,
        when="Failed attempts after which it is a dead letter; 50 take about three hours.",
    )
    outbox_expiry_s: Seconds = option(
        86400.0,
        unit="seconds",
        minimum=1,
        maximum=30 * 86400,
        when="Age at which what keeps failing is a dead letter, whatever its attempts.",
    )
    outbox_waiting_max: Count = option(
        10_000,
        minimum=1,
        maximum=10_000_000,
        when="Effects that wait for another attempt; beyond, a consumer takes nothing new.",
    )

    # Who clients are.
    jwt_algorithm: Literal["HS256", "RS256", "EdDSA"] = option(
        "HS256", when="How tokens are signed: HS256 with a shared secret, else with a key pair."
    )
    jwt_secret_file: AbsolutePath | None = option(
        None,
        allowed="a file of at least 32 bytes",
        when="Secret for HS256; without one a development secret is made, for loopback only.",
    )
    jwt_public_key_file: AbsolutePath | None = option(
        None, allowed="a PEM file", when="Public key of the issuer, for RS256 and EdDSA."
    )
    jwt_jwks_file: AbsolutePath | None = option(
        None,
        allowed="a JSON Web Key Set",
        when="Public keys of an issuer that rotates them; heeded within a second of a change.",
    )
    jwt_issuer: str | None = option(
        None, allowed="text", when="Required `iss` of tokens; set it when the issuer sets one."
    )
    jwt_audience: str | None = option(
        None, allowed="text", when="Required `aud` of tokens; set it when the issuer serves others."
    )
    jwt_leeway_s: Seconds = option(
        0.0,
        unit="seconds",
        minimum=0,
        maximum=300,
        when="Tolerance for the issuer's clock; raise it when that is another machine's.",
    )

    @property
    def worker_count(self) -> int:
        """Processes to run."""
        return self.workers if self.workers is not None else cores()

    def document(self) -> dict[str, Any]:
        """The options as JSON values, for a worker's start document."""
        return self.model_dump(mode="json")
