"""One group, subscribers on one worker: messages delivered beside pre-framed sends of the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.flow.figures import TABLE, Row, Spread, pairs
from benchmarks.flow.programs import Limits
from benchmarks.flow.server import Server

SUBSCRIBERS = 1000
WINDOW = 32
PAIRS = 5
SECONDS = 3
BAR = 0.60

CASES = [
    pytest.param("ws-proto", True, id="ephemeral, WebSocket protobuf"),
    pytest.param("ws-json", True, id="ephemeral, WebSocket JSON"),
    pytest.param("ws-proto", False, id="durable, WebSocket protobuf"),
]


@pytest.mark.parametrize(("transport", "ephemeral"), CASES)
def test_fan_out(
    benchmark: Any,
    tmp_path: Path,
    generator: Path,
    limits: Limits,
    transport: str,
    ephemeral: bool,
) -> None:
    arguments = ["--window", WINDOW, "--seconds", SECONDS]
    if ephemeral:
        arguments.append("--ephemeral")

    with Server(tmp_path / "server", generator, workers=1) as server:

        def measured() -> dict[str, Any]:
            # The publisher's is one connection more.
            return server.run("fanout", transport, SUBSCRIBERS + 1, *arguments)

        def limit(run: dict[str, Any]) -> dict[str, Any]:
            return limits.fan_out(
                connections=SUBSCRIBERS,
                frames=max(1, round(run["frames_per_send"])),
                size=round(run["wire_bytes_per_frame"]),
                ms=SECONDS * 1000,
            )

        results = pairs(benchmark, PAIRS, measured, limit)

    rates = [(run["delivered_per_second"], at["frames"] / at["seconds"]) for run, at in results]
    costs = [
        (run["server_cpu_us_per_delivery"], at["sender"]["cpu_seconds"] / at["sender"]["frames"])
        for run, at in results
    ]
    kind = f"{'ephemeral' if ephemeral else 'durable'}, {transport}"
    ratio = Spread.of(ours / theirs for ours, theirs in rates)
    coalesced = Spread.of(run["frames_per_send"] for run, _ in results)
    size = round(results[0][0]["wire_bytes_per_frame"])
    TABLE.rows += [
        Row(
            f"fan-out to {SUBSCRIBERS:,}, {kind}, {size} B frames: delivered/s",
            Spread.of(ours for ours, _ in rates),
            f"same frames, {coalesced} a send",
            Spread.of(theirs for _, theirs in rates),
            ratio,
            f"≥ {BAR:.0%}" if ephemeral else "",
            ratio.median >= BAR if ephemeral else None,
        ),
        Row(
            "- µs of server CPU a delivery",
            Spread.of(ours for ours, _ in costs),
            "sender",
            Spread.of(theirs * 1e6 for _, theirs in costs),
            Spread.of(ours / theirs / 1e6 for ours, theirs in costs),
            "",
            None,
        ),
    ]
    benchmark.extra_info["results"] = results
