"""What a connection costs the server: accept, upgrade, and a token that is checked (HS256)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.flow.figures import TABLE, Bar, Row, in_turn
from benchmarks.flow.server import Server
from imfast.bench.limit_programs import LimitPrograms

SECTION = "Connections"
CONNECTIONS = 4000
BAR_US = Bar(at_most=60)


def test_connect(benchmark: Any, tmp_path: Path, limits: LimitPrograms, rounds: int) -> None:
    with Server(tmp_path / "server", workers=1) as server:
        found = in_turn(
            benchmark,
            rounds,
            lambda _: server.run("connect", "ws-json", CONNECTIONS),
            lambda _: limits.accept(connections=CONNECTIONS),
        )
    runs, at_most = (list(one) for one in zip(*found, strict=True))
    costs = [run["server_cpu_us_per_connect"] for run in runs]
    theirs = [at["cpu_seconds"] * 1e6 / at["connections"] for at in at_most]
    rates = [at["connections"] / at["seconds"] for at in at_most]
    TABLE.rows += [
        Row.beside("connect with a token: µs of server CPU", costs, "accept + 101", theirs),
        Row.alone("- the same", costs, BAR_US),
        Row.beside(
            "- connections/s",
            [run["connects_per_second"] for run in runs],
            "one after the other",
            rates,
        ),
    ]
