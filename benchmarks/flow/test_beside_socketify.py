"""The fan-outs of `test_fan_out.py` beside uWebSockets, through socketify, in interleaved pairs.

Both run one process without compression and send from memory. socketify's frames are plain ones of
the body alone, imfast's carry what its protocol says of a message, and every send is answered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.flow.figures import TABLE, Bar, Row, pairs
from benchmarks.flow.server import Server
from benchmarks.peers.peer import INSTALL, RunningPeer
from benchmarks.peers.socketify_uws import Socketify

pytestmark = pytest.mark.peers

SECTION = (
    "Fan-out beside uWebSockets through socketify: one group, one worker, 128 bytes, ephemeral"
)
SECONDS = 3
ABOVE = Bar(at_least=1.0, of="socketify")
BELOW = Bar(at_most=1.0, of="socketify")

WORKS = [
    pytest.param("to 100, window 64", 100, ("--window", 64), id="100"),
    pytest.param("to 1,000, window 32", 1000, ("--window", 32), id="1000"),
    pytest.param("to 9,000, window 16", 9000, ("--window", 16), id="9000"),
    pytest.param("to 9,000, 5 messages a second", 9000, ("--rate", 5), id="paced"),
]


@pytest.mark.parametrize(("name", "subscribers", "load"), WORKS)
def test_beside_socketify(
    benchmark: Any,
    tmp_path: Path,
    rounds: int,
    name: str,
    subscribers: int,
    load: tuple[object, ...],
) -> None:
    peer = Socketify()
    if peer.version() is None:
        pytest.skip(f"{peer.name} is not installed: {INSTALL}")
    arguments = (*load, "--seconds", SECONDS)
    with (
        Server(tmp_path / "server", workers=1) as server,
        RunningPeer(peer, tmp_path / "peer") as running,
    ):
        results = pairs(
            benchmark,
            rounds,
            lambda: server.run("fanout", "ws-proto", subscribers, *arguments, "--ephemeral"),
            # A publisher is one of its connections.
            lambda _: running.run("fanout", subscribers + 1, *arguments),
        )
    ours, theirs = (list(one) for one in zip(*results, strict=True))
    assert not any(run["lost"] or run["failed"] for run in theirs), theirs
    paced = "--rate" in load
    label = f"socketify {peer.version()}".replace("socketify socketify", "socketify")

    def row(figure: str, key: str, bar: Bar | None) -> Row:
        return Row.beside(
            figure, [run[key] for run in ours], label, [run[key] for run in theirs], bar
        )

    if paced:
        cost = f"{name}: µs of server CPU a delivery"
        TABLE.rows.append(row(cost, "server_cpu_us_per_delivery", BELOW))
        return
    TABLE.rows += [
        row(f"{name}: delivered/s", "delivered_per_second", ABOVE),
        row("- µs of server CPU a delivery", "server_cpu_us_per_delivery", None),
    ]
