"""Memory of an idle authenticated WebSocket: the slope of a worker's PSS, so no base is in it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from benchmarks.flow.figures import TABLE, Bar, Row
from benchmarks.flow.server import Server

SECTION = "Memory"
FEW, MANY = 1000, 9000
BAR_KIB = Bar(at_most=1.0)


def test_idle_memory(benchmark: Any, tmp_path: Path, rounds: int) -> None:
    slopes: list[float] = []
    bases: list[float] = []
    number = itertools.count()

    def slope() -> None:
        with Server(tmp_path / f"server-{next(number)}", workers=1) as server:
            base = server.memory_kib()
            with server.generator("idle", "ws-json", FEW) as first:
                first.event("ready")
                few = server.memory_kib()
                with server.generator("idle", "ws-json", MANY - FEW) as rest:
                    rest.event("ready")
                    many = server.memory_kib()
        bases.append(base / 1024)
        slopes.append((many - few) / (MANY - FEW))

    benchmark.pedantic(slope, rounds=rounds, iterations=1)
    TABLE.rows += [
        Row.alone(
            f"PSS of an idle WebSocket, {FEW:,} to {MANY:,} on one worker, KiB",
            slopes,
            BAR_KIB,
            note="0 in user space",
        ),
        Row.alone("- of the worker without connections, MiB", bases),
    ]
    benchmark.extra_info["slopes_kib"] = slopes
