"""The same work for imfast and for every peer, in interleaved pairs with the same client.

What peers are compared with is imfast's ephemeral send, which promises what they promise; the
durable one, and the kernel's limit, are measured once for each work.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.flow.figures import TABLE, Row, Spread, pairs
from benchmarks.flow.server import Server
from benchmarks.peers.peer import INSTALL, Peer, RunningPeer, cpu_seconds
from benchmarks.peers.registry import PEERS
from benchmarks.peers.results import RESULTS, SATURATED, Measured
from benchmarks.peers.works import QUICK, ROUNDS, WORKS, Work
from imfast.bench.generator import Event
from imfast.bench.limit_programs import LimitPrograms

pytestmark = pytest.mark.peers

SECTION = "Other servers"
TRANSPORT = "ws-proto"
"""Of imfast."""
IDLE = "idle connections"
IDLE_FIGURES = ("KiB a connection", "µs of server CPU a connect")
FEW, MANY = 500, 5000
"""Idle connections between which memory and CPU are compared."""

each_work = pytest.mark.parametrize(
    "work", [work for work in WORKS if work.in_quick or not QUICK], ids=lambda work: work.key
)
each_peer = pytest.mark.parametrize("peer", PEERS, ids=lambda peer: type(peer).__name__.lower())


def installed(peer: Peer) -> None:
    """Skips the test where the peer is not installed."""
    version = peer.version()
    if version is None:
        reason = f"{peer.name} is not installed: {INSTALL}"
        RESULTS.skipped[peer.name] = reason
        pytest.skip(reason)
    RESULTS.versions[peer.name] = version


@each_peer
@each_work
def test_work(
    benchmark: Any,
    tmp_path: Path,
    imfast: dict[int, Server],
    work: Work,
    peer: Peer,
) -> None:
    installed(peer)
    with RunningPeer(peer, tmp_path / "peer") as running:

        def measured() -> Event:
            server = imfast[work.workers]
            return server.run(
                work.scenario, TRANSPORT, work.receivers, *work.arguments, "--ephemeral"
            )

        def theirs(_: Event) -> Event:
            try:
                arguments = work.run_arguments(slow=peer.slow)
                return running.run(work.scenario, work.connections, *arguments)
            except RuntimeError as error:
                # A peer that gives up on this work is a result, and no fault of this suite.
                RESULTS.skipped[f"{peer.name}, {work.name}"] = str(error)
                pytest.xfail(str(error))

        results = pairs(benchmark, ROUNDS, measured, theirs)
    record(work, peer.name, results)
    benchmark.extra_info["results"] = results


@each_work
def test_durable_and_limit(
    benchmark: Any, tmp_path: Path, limits: LimitPrograms, work: Work
) -> None:
    number = itertools.count()

    def measured() -> Event:
        # A new server each time: rows stay in memory.
        directory = tmp_path / f"server-{next(number)}"
        with Server(directory, workers=work.workers) as server:
            return server.run(work.scenario, TRANSPORT, work.receivers, *work.arguments)

    results = pairs(benchmark, ROUNDS, measured, lambda _: work.limit(limits))
    for name, runs in (
        ("imfast, durable", [run for run, _ in results]),
        ("limit", [limit for _, limit in results]),
    ):
        for figure in work.figures:
            if figure.path[0] in runs[0]:
                values = tuple(figure.of(run) for run in runs)
                RESULTS.measured.append(Measured(work.name, figure.name, name, values, ()))
    benchmark.extra_info["results"] = results


@each_peer
@pytest.mark.skipif(QUICK, reason="not of the main figures")
def test_idle(benchmark: Any, tmp_path: Path, peer: Peer) -> None:
    installed(peer)

    def pair() -> tuple[tuple[float, float], tuple[float, float]]:
        with Server(tmp_path / "server", workers=1) as server:
            ours = idle(
                lambda count: server.generator("idle", TRANSPORT, count),
                server.memory_kib,
                lambda: cpu_seconds(server.worker_pids),
            )
        with RunningPeer(peer, tmp_path / "peer") as running:
            theirs = idle(
                lambda count: running.generator("idle", count),
                running.memory_kib,
                running.cpu_seconds,
            )
        return ours, theirs

    measured = benchmark.pedantic(pair, rounds=1)
    for name, ours, theirs in zip(IDLE_FIGURES, *measured, strict=True):
        RESULTS.measured.append(Measured(IDLE, name, peer.name, (theirs,), (ours,)))
        TABLE.rows.append(
            Row(
                f"{IDLE}: {name}",
                Spread.of([ours]),
                peer.name,
                Spread.of([theirs]),
                Spread.of([ours / theirs]),
                "",
                None,
            )
        )


def idle(
    connect: Callable[[int], Any], memory_kib: Callable[[], float], cpu: Callable[[], float]
) -> tuple[float, float]:
    """KiB of memory and µs of CPU time for each further connection."""
    with connect(FEW) as first:
        first.event("ready")
        memory, seconds = memory_kib(), cpu()
        with connect(MANY - FEW) as rest:
            rest.event("ready")
            more_memory, more_seconds = memory_kib(), cpu()
    count = MANY - FEW
    return (more_memory - memory) / count, (more_seconds - seconds) * 1e6 / count


def record(work: Work, name: str, results: list[tuple[Event, Event]]) -> None:
    """Rows of the table, and of the file."""
    notes = []
    if any(run["saturated"] for pair in results for run in pair):
        notes.append(SATURATED)
    if lost := sum(theirs["lost"] for _, theirs in results):
        notes.append(f"{lost:,} still under way after 5 s")
    if failed := sum(theirs["failed"] for _, theirs in results):
        notes.append(f"{failed:,} failed")
    for number, figure in enumerate(work.figures):
        if not all(figure.path[0] in run for pair in results for run in pair):
            RESULTS.skipped[f"{name}, {work.name}"] = f"nothing for {figure.name} in time"
            continue
        values = [(figure.of(ours), figure.of(theirs)) for ours, theirs in results]
        ours = Spread.of(one for one, _ in values)
        theirs = Spread.of(other for _, other in values)
        ratio = Spread.of(one / other for one, other in values if other)
        title = f"{work.name}: {figure.name}" if number == 0 else f"- {figure.name}"
        label = f"{name} ({', '.join(notes)})" if notes else name
        shown = ratio if ratio.values else None
        TABLE.rows.append(Row(title, ours, label, theirs, shown, "", None))
        RESULTS.measured.append(
            Measured(work.name, figure.name, name, theirs.values, ours.values, tuple(notes))
        )
