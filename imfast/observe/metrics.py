"""The names under which a monitoring system finds the server's numbers: each stands here once.

Written in the text format of Prometheus, version 0.0.4. Numbers are those of `/v1/status`, in bytes
and seconds. Counters go on when a worker is replaced, but for those that only its report has: these
begin at 0 again, as readers expect.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["CONTENT_TYPE", "HISTOGRAMS", "METRICS", "Metric", "Shown", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Shown:
    """What the workers of one place have shown in shared memory."""

    counters: Mapping[str, int]
    """They go on where the worker before left them: they begin at 0 when the server starts."""
    gauges: Mapping[str, int]
    histograms: Mapping[str, tuple[list[int], list[int], int]]
    """Upper bounds in microseconds, counts by bucket (one more than bounds), the sum."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name, what it is, and which number of a worker's report it shows."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    counters: Mapping[str, str]
    """The report's name of each number, and the label's value under which it stands."""
    label: str = ""
    """What tells several numbers apart; empty where there is one."""


def _one(name: str, kind: Literal["counter", "gauge"], counter: str, text: str) -> Metric:
    return Metric(name, kind, text, {counter: ""})


METRICS: Sequence[Metric] = (
    Metric(
        "imfast_connections",
        "gauge",
        "Connections by what they speak; none: not authenticated, or being closed.",
        {
            "websocket_json": "websocket_json",
            "websocket_proto": "websocket_proto",
            "websocket_json_deflate": "websocket_json_deflate",
            "websocket_proto_deflate": "websocket_proto_deflate",
            "tcp": "tcp",
            "events": "events",
            "http2_events": "http2_events",
            "http": "http",
            "http2": "http2",
            "without_session": "none",
        },
        "transport",
    ),
    _one("imfast_users", "gauge", "users", "Users with a connection."),
    _one("imfast_groups", "gauge", "groups", "Groups with a session."),
    _one("imfast_seats", "gauge", "seats", "Devices whose sessions are known here."),
    _one("imfast_links", "gauge", "links", "Links to other workers."),
    _one("imfast_partitions", "gauge", "partitions", "Partitions that are open."),
    _one("imfast_accepted_total", "counter", "accepted", "Connections accepted."),
    _one("imfast_accept_pauses_total", "counter", "accept_pauses", "Rests of a listener."),
    Metric(
        "imfast_connections_dropped_total",
        "counter",
        "Connections that the server ended or did not take.",
        {
            "arrivals_refused": "rate",
            "timed_out": "silence",
            "slow_consumers": "slow_reader",
            "tls_failures": "tls",
        },
        "reason",
    ),
    Metric(
        "imfast_tls_handshakes_total",
        "counter",
        "TLS handshakes that succeeded: in full, or with a ticket.",
        {"tls_handshakes": "full", "tls_resumed": "resumed"},
        "kind",
    ),
    _one("imfast_requests_total", "counter", "frames_received", "Requests of clients."),
    _one("imfast_errors_total", "counter", "errors", "Requests answered with an error."),
    _one("imfast_rate_limited_total", "counter", "rate_limited", "Requests refused for a rate."),
    _one("imfast_deliveries_total", "counter", "deliveries", "Messages and events delivered."),
    _one("imfast_notices_total", "counter", "notices", "Receipts and presence told."),
    _one("imfast_sent_bytes_total", "counter", "bytes_sent", "Bytes written to clients."),
    _one("imfast_writes_total", "counter", "writes", "System calls that wrote a queue."),
    Metric(
        "imfast_ephemeral_lost_total",
        "counter",
        "Ephemeral messages that a slow reader did not get.",
        {"ephemeral_replaced": "replaced", "ephemeral_dropped": "dropped"},
        "reason",
    ),
    _one("imfast_commands_total", "counter", "commands", "Commands put into batches."),
    _one("imfast_commits_total", "counter", "commits", "Batches that became durable."),
    _one("imfast_catch_up_pages_total", "counter", "pages", "Pages of catch-ups served."),
    _one("imfast_link_frames_total", "counter", "link_frames", "Frames from other workers."),
    _one("imfast_link_breaks_total", "counter", "link_breaks", "Links that broke."),
    _one("imfast_rows_bytes", "gauge", "rows_bytes", "Bytes of messages in memory."),
    _one(
        "imfast_rows_unarchived_bytes",
        "gauge",
        "rows_unarchived_bytes",
        "Bytes of messages that no archive has yet.",
    ),
    _one("imfast_inbox_bytes", "gauge", "inbox_bytes", "Bytes of commands that wait for a batch."),
    _one(
        "imfast_link_queue_bytes",
        "gauge",
        "link_queue_bytes",
        "Bytes that wait for other workers to read them.",
    ),
    _one(
        "imfast_dedupe_covered_seconds",
        "gauge",
        "dedupe_covered_s",
        "How long a retry finds the first result, in the partition that forgets first.",
    ),
    _one("imfast_log_bytes", "gauge", "log_bytes", "Bytes of the partitions' logs."),
    _one("imfast_python_ticks_total", "counter", "python_ticks", "Ticks that ran Python code."),
    Metric(
        "imfast_queue_full_total",
        "counter",
        "Times that a bounded queue or memory was full.",
        {
            "inbox_full": "inbox",
            "rows_full": "rows",
            "requests_full": "requests",
            "link_full": "link",
            "send_queue_full": "send_queue",
        },
        "queue",
    ),
    Metric(
        "imfast_contained_faults_total",
        "counter",
        "Faults of the server's own that were contained.",
        {
            "decoding_panics": "decoding_panic",
            "fold_panics": "fold_panic",
            "archive_write_errors": "archive_write",
            "archive_read_errors": "archive_read",
            "archive_rebuilds": "archive_rebuild",
            "log_removal_errors": "log_removal",
        },
        "fault",
    ),
)

HISTOGRAMS: Mapping[str, tuple[str, str]] = {
    "delivery": (
        "imfast_delivery_latency_seconds",
        "Age of messages, by the sender's owner's clock, when they were handed to a session;"
        " catch-up left out.",
    ),
    "commit": (
        "imfast_commit_latency_seconds",
        "From a batch's hand-over to the log until it was known to be durable.",
    ),
}
"""A report's name of each histogram → its name and help."""

_QUANTILES = {"p50_us": "0.5", "p99_us": "0.99", "max_us": "1"}
_RECENT = {
    "commit": "How long batches took of late to become durable; 1 is the longest.",
    "tick": "How long turns of the engine took of late; 1 is the longest.",
}


_CONSUMERS: Sequence[tuple[str, Literal["counter", "gauge"], str, str]] = (
    ("imfast_consumer_restarts_total", "counter", "restarts", "Times it was started again."),
    ("imfast_consumer_waiting", "gauge", "waiting", "Effects that wait for another attempt."),
    ("imfast_consumer_dead", "gauge", "dead", "Dead letters."),
)


def exposition(
    workers: Iterable[Mapping[str, Any]],
    shown: Sequence[Shown],
    consumers: Sequence[Mapping[str, Any]] = (),
    *,
    ready: bool,
) -> str:
    """All numbers as text.

    `workers` are as `/v1/status` shows them, with `process` beside; `shown` is what each of them
    has in shared memory, and goes before what it reported. `consumers` are as the status has them.
    """
    workers = [
        {**worker, "counters": {**worker.get("counters", {}), **of.counters, **of.gauges}}
        for worker, of in zip(workers, shown, strict=True)
    ]
    lines = [*_head("imfast_ready", "gauge", "Whether clients can connect to every worker.")]
    lines.append(f"imfast_ready {int(ready)}")
    lines += _per_worker(
        workers,
        "imfast_worker_up",
        "gauge",
        "Whether the worker serves.",
        lambda worker: int(worker["state"] == "ready"),
    )
    lines += _per_worker(
        workers,
        "imfast_worker_restarts_total",
        "counter",
        "Times that the worker was replaced.",
        lambda worker: worker["restarts"],
    )
    for name, unit_help in (
        ("imfast_worker_resident_memory_bytes", "Resident memory of the worker."),
        ("imfast_worker_cpu_seconds_total", "Processor time of the worker's process."),
    ):
        kind = "counter" if name.endswith("_total") else "gauge"
        key = "resident_bytes" if kind == "gauge" else "cpu_s"
        lines += _per_worker(
            workers, name, kind, unit_help, lambda worker, key=key: worker["process"].get(key)
        )
    for metric in METRICS:
        lines += _head(metric.name, metric.kind, metric.help)
        lines += _samples(metric, workers)
    for what, (name, text) in HISTOGRAMS.items():
        lines += _histogram(name, text, [of.histograms[what] for of in shown])
    for what, text in _RECENT.items():
        name = f"imfast_recent_{what}_seconds"
        lines += _head(name, "gauge", text)
        for worker in workers:
            for key, quantile in _QUANTILES.items():
                if key in (found := worker.get(what, {})):
                    labels = _labels(worker, quantile=quantile)
                    lines.append(f"{name}{labels} {found[key] / 1e6:.9g}")
    for name, kind, key, text in _CONSUMERS if consumers else ():
        lines += _head(name, kind, text)
        for one in consumers:
            if key in one:
                lines.append(f'{name}{{consumer="{one["consumer"]}"}} {one[key]}')
    return "\n".join(lines) + "\n"


def _histogram(
    name: str, text: str, found: Sequence[tuple[list[int], list[int], int]]
) -> Iterator[str]:
    """All workers' together."""
    yield from _head(name, "histogram", text)
    bounds = found[0][0]
    counts = [sum(counted) for counted in zip(*(one[1] for one in found), strict=True)]
    total = 0
    for bound, count in zip([*(f"{us / 1e6:g}" for us in bounds), "+Inf"], counts, strict=True):
        total += count
        yield f'{name}_bucket{{le="{bound}"}} {total}'
    yield f"{name}_sum {sum(one[2] for one in found) / 1e6:.9g}"
    yield f"{name}_count {total}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _samples(metric: Metric, workers: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for worker in workers:
        counters = worker.get("counters", {})
        for counter, value in metric.counters.items():
            if counter in counters:
                labels = _labels(worker, **({metric.label: value} if metric.label else {}))
                yield f"{metric.name}{labels} {counters[counter]}"


def _per_worker(
    workers: Iterable[Mapping[str, Any]], name: str, kind: str, text: str, value: Any
) -> Iterator[str]:
    yield from _head(name, kind, text)
    for worker in workers:
        if (number := value(worker)) is not None:
            yield f"{name}{_labels(worker)} {number}"


def _labels(worker: Mapping[str, Any], **others: str) -> str:
    # Names of workers and our own words: nothing in them needs an escape.
    pairs = {"worker": worker["server"], **others}
    return "{" + ",".join(f'{name}="{value}"' for name, value in pairs.items()) + "}"
