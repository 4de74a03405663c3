"""The load generator's own limit: frames that it counts beside those that a bare sink counts."""

from __future__ import annotations

from typing import Any

from benchmarks.flow.figures import TABLE, Bar, Row, pairs
from imfast.bench.generator import Generator
from imfast.bench.limit_programs import LimitPrograms

CONNECTIONS = 1000
FRAMES = 256
"""In each send."""
FRAME_BYTES = 128
SECONDS = 2
BAR = Bar(at_least=0.9, of="the sink")


def test_generator_receives_as_fast_as_a_bare_sink(
    benchmark: Any, limits: LimitPrograms, rounds: int
) -> None:
    load = {
        "connections": CONNECTIONS,
        "frames": FRAMES,
        "size": FRAME_BYTES,
        "ms": SECONDS * 1000,
    }

    def count(port: int) -> dict[str, Any]:
        with Generator(
            "sink",
            *("--transport", "preframed"),
            *("--port", port),
            *("--connections", CONNECTIONS),
            *("--warmup", 0.5),
            *("--seconds", SECONDS),
        ) as generator:
            figures = generator.result()
        # The sender is no server, and nobody else's load either.
        del figures["machine_busy_cores"]
        return figures

    results = pairs(
        benchmark,
        rounds,
        lambda: limits.fan_out(**load, receive=count),
        lambda _: limits.fan_out(**load),
    )
    kind = f"load generator, {FRAME_BYTES} B frames, {FRAMES} a send"
    TABLE.rows += [
        Row.beside(
            f"{kind}: received/s",
            [run["frames_per_second"] for run, _ in results],
            "bare sink",
            [at["frames"] / at["seconds"] for _, at in results],
            BAR,
        ),
        Row.beside(
            "- ns of its CPU a frame",
            [run["client_cores"] * run["seconds"] * 1e9 / run["frames"] for run, _ in results],
            "bare sink",
            [at["cpu_seconds"] * 1e9 / at["frames"] for _, at in results],
        ),
    ]
