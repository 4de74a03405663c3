"""A group of which some do not read: what the others notice, and what those cost in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.flow.figures import TABLE, Bar, Row, in_turn
from benchmarks.flow.server import Server

SECTION = "Slow consumers: 1,000 of 9,000 subscribers do not read"
READING, STALLED = 8000, 1000
PACED = ("--rate", 8, "--seconds", 25, "--warmup", 2)
"""200 messages: all deliveries of one come together, so that a p99 is one of messages."""
BODY_BYTES = 4096
STALLED_KERNEL = ("--receive-buffer", 4096)
"""With the unsent bytes below, the warm-up's messages fill it: those measured are 8,000 sends and
1,000 sockets that take nothing, and not 9,000 sends. Durable ones are closed."""

OTHERS_BAR = Bar(at_most=1.2, of="the run without them")
RING_KIB = 160
RING = ("--send-queue-frames", 24, "--socket-unsent-bytes", "16KiB")
MEMORY_BAR = Bar(at_most=RING_KIB)


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(("--ephemeral",), id="ephemeral"),
        pytest.param((), id="durable", marks=pytest.mark.full),
    ],
)
def test_slow_consumers(
    benchmark: Any, tmp_path: Path, rounds: int, flags: tuple[str, ...]
) -> None:
    load = (*PACED, "--body-bytes", BODY_BYTES, *flags)
    ring = ("--send-queue-bytes", f"{RING_KIB}KiB", *RING)

    def run(scenario: str, *more: object) -> dict[str, Any]:
        # A new one for each run: what is freed does not always leave a process.
        with Server(tmp_path / "server", *ring, workers=1) as server:
            return server.run(scenario, "ws-proto", READING, *load, *more)

    found = in_turn(
        benchmark,
        rounds,
        lambda _: run("fanout"),
        lambda _: run("slow-consumers", "--stalled", STALLED, *STALLED_KERNEL),
    )
    without, beside = (list(one) for one in zip(*found, strict=True))
    kind = "ephemeral" if flags else "durable"
    for name, bar in (("p50", None), ("p99", OTHERS_BAR)):
        TABLE.rows.append(
            Row.beside(
                f"{kind}: the others' {name}, ms",
                [one["latency"][f"{name}_us"] / 1e3 for one in beside],
                "without them",
                [one["latency"][f"{name}_us"] / 1e3 for one in without],
                bar,
            )
        )
    grown = [
        (one["server_pss_bytes"]["most"] - one["server_pss_bytes"]["before"]) / STALLED / 1024
        for one in beside
    ]
    TABLE.rows.append(
        Row.alone("- memory for each that does not read, KiB", grown, MEMORY_BAR, note="its ring")
    )
    closed = [float(one["stalled_closed"]) for one in beside]
    TABLE.rows.append(Row.alone("- closed of those", closed))
