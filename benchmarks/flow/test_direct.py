"""Durable messages between pairs: how many a second, and how long one takes at a constant rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.flow.figures import TABLE, Row, Spread, pairs
from benchmarks.flow.programs import Limits
from benchmarks.flow.server import Server

CONNECTIONS = 1000
WORKERS = 2
PAIRS = 5
SECONDS = 4
MESSAGE_BYTES = 180
"""A send, and a delivery, of a body of 128 bytes in protobuf."""

RATE_BAR = 100_000
PACED_PER_SECOND = 5000
COMMIT_BYTES = 1024
"""About what one commit holds at that rate."""


@pytest.mark.parametrize(
    ("write", "window"),
    [("each", 16), ("batch", 16)],
    ids=["one message a write", "the window in one write"],
)
def test_direct_rate(
    benchmark: Any, tmp_path: Path, generator: Path, limits: Limits, write: str, window: int
) -> None:
    def measured() -> dict[str, Any]:
        # A new server each time: rows stay in memory.
        with Server(tmp_path / "server", generator, workers=WORKERS) as server:
            return server.run(
                "direct",
                "tcp",
                CONNECTIONS,
                *("--window", window),
                *("--write", write),
                *("--seconds", SECONDS),
            )

    def limit(run: dict[str, Any]) -> dict[str, Any]:
        # What is not the delivery is the answer and the sender's own copy.
        answer = round(run["received_bytes_per_message"]) - MESSAGE_BYTES
        return limits.relay(
            connections=CONNECTIONS,
            window=window,
            bytes=MESSAGE_BYTES,
            answer=answer,
            ms=SECONDS * 1000,
        )

    results = pairs(benchmark, PAIRS, measured, limit)
    rates = [(run["messages_per_second"], at["messages"] / at["seconds"]) for run, at in results]
    ours = Spread.of(rate for rate, _ in rates)
    is_figure = write == "each"
    how = "one message a write" if is_figure else "the window in one write"
    TABLE.rows += [
        Row(
            f"durable 1:1, {CONNECTIONS:,} connections, window {window}, {how}: messages/s",
            ours,
            "relay, a write each, not durable",
            Spread.of(rate for _, rate in rates),
            Spread.of(rate / limit for rate, limit in rates),
            f"≥ {RATE_BAR:,}" if is_figure else "",
            ours.median >= RATE_BAR if is_figure else None,
        ),
        Row(
            "- µs of server CPU a message",
            Spread.of(run["server_cpu_us_per_message"] for run, _ in results),
            "",
            None,
            None,
            "",
            None,
        ),
    ]
    benchmark.extra_info["results"] = results


def test_direct_latency(benchmark: Any, tmp_path: Path, generator: Path, limits: Limits) -> None:
    def measured() -> dict[str, Any]:
        with Server(tmp_path / "server", generator, workers=WORKERS) as server:
            return server.run(
                "direct",
                "tcp",
                CONNECTIONS,
                *("--rate", PACED_PER_SECOND),
                *("--seconds", SECONDS),
            )

    def limit(run: dict[str, Any]) -> dict[str, Any]:
        answer = round(run["received_bytes_per_message"]) - MESSAGE_BYTES
        relay = limits.relay(
            connections=CONNECTIONS,
            rate=PACED_PER_SECOND,
            bytes=MESSAGE_BYTES,
            answer=answer,
            ms=SECONDS * 1000,
        )
        sync = limits.sync_write(tmp_path / "limit", size=COMMIT_BYTES, ms=SECONDS * 1000)
        return {**sync, "relay": relay}

    results = pairs(benchmark, PAIRS, measured, limit)
    assert not any(run["saturated"] for run, _ in results), "the generator measured itself"
    figure = f"durable 1:1 at {PACED_PER_SECOND:,}/s"
    for quantile, factor, extra_ms in (("p50", 1, 1), ("p99", 2, 4)):
        ours = [run["latency"][f"{quantile}_us"] / 1e3 for run, _ in results]
        theirs = [at[f"{quantile}_us"] / 1e3 for _, at in results]
        allowed = Spread.of(
            mine - factor * sync - extra_ms for mine, sync in zip(ours, theirs, strict=True)
        )
        TABLE.rows.append(
            Row(
                f"{figure}: {quantile}, ms",
                Spread.of(ours),
                f"write + fdatasync {quantile}",
                Spread.of(theirs),
                None,
                f"≤ {factor} x limit + {extra_ms}",
                allowed.median <= 0,
            )
        )
        TABLE.rows.append(
            Row(
                "- the same",
                Spread.of(ours),
                f"relay at that rate, not durable, {quantile}",
                Spread.of(at["relay"][f"{quantile}_us"] / 1e3 for _, at in results),
                None,
                "",
                None,
            )
        )
    TABLE.rows.append(
        Row(
            "- longest, ms",
            Spread.of(run["latency"]["max_us"] / 1e3 for run, _ in results),
            "longest",
            Spread.of(at["max_us"] / 1e3 for _, at in results),
            None,
            "",
            None,
        )
    )
    benchmark.extra_info["results"] = results
