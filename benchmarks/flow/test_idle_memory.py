"""Memory of an idle authenticated WebSocket: the slope of a worker's PSS, so no base is in it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from benchmarks.flow.figures import TABLE, Row, Spread
from benchmarks.flow.server import Server

FEW, MANY = 1000, 9000
ROUNDS = 3
BAR_KIB = 2.0


def test_idle_memory(benchmark: Any, tmp_path: Path, generator: Path) -> None:
    slopes: list[float] = []
    bases: list[float] = []
    number = itertools.count()

    def slope() -> None:
        with Server(tmp_path / f"server-{next(number)}", generator, workers=1) as server:
            base = server.memory_kib()
            with server.generator("idle", "ws-json", FEW) as first:
                first.event("ready")
                few = server.memory_kib()
                with server.generator("idle", "ws-json", MANY - FEW) as rest:
                    rest.event("ready")
                    many = server.memory_kib()
        bases.append(base / 1024)
        slopes.append((many - few) / (MANY - FEW))

    benchmark.pedantic(slope, rounds=ROUNDS, iterations=1)
    measured = Spread.of(slopes)
    TABLE.rows += [
        Row(
            f"PSS of an idle WebSocket, {FEW:,} to {MANY:,} on one worker, KiB",
            measured,
            "0 in user space",
            None,
            None,
            f"≤ {BAR_KIB:.0f}",
            measured.median <= BAR_KIB,
        ),
        Row("- of the worker without connections, MiB", Spread.of(bases), "", None, None, "", None),
    ]
    benchmark.extra_info["slopes_kib"] = slopes
