"""`python -m benchmarks.soak.restart`: where the time between a kill and the first answer goes.

A server is killed again and again; each line has the milliseconds from the kill to what the server
logged, to what became of its processes, and to what its clients saw; then what processes spent on a
processor until the last probe was answered, and how long they waited for one. `--rate` puts load
beside it; `make soak` has the outages alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

from benchmarks.soak.kills import KINDS, kill
from benchmarks.soak.load import Load
from benchmarks.soak.probes import Probe, open_probes
from benchmarks.soak.processes import EVERY_SECONDS, Watch
from benchmarks.soak.service import Service

SETTLE_SECONDS = 3.0
"""Longer than a spare takes to load its modules."""
CALM_SECONDS = 10.5
"""A worker that lived for less is started with a delay; see imfast.supervisor.backoff."""
EVENTS = ("worker_started", "partition open", "worker_ready")


async def stages(
    service: Service, probes: list[Probe], kind: str, fate: random.Random
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Kill; return the milliseconds to every stage, and the processors' time until the last."""
    length = service.log.stat().st_size
    with Watch() as watch:
        await asyncio.sleep(2 * EVERY_SECONDS)
        homes = [probe.at for probe in probes]
        wall = time.time()
        done = await kill(service, kind, fate)
        await asyncio.sleep(SETTLE_SECONDS)
    found = {"ready file": done.ready_after}
    if kind == "the supervisor":
        found["started again"] = service.spawned_at - done.at
    for name, at in watch.first_seen(done.at).items():
        found[f"process {name}"] = at - done.at
    for name, at in logged(service.log, length):
        found.setdefault(f"first {name}", at - wall)
        found[f"last {name}"] = at - wall
    touched = [p for p, home in zip(probes, homes, strict=True) if done.touches(p, home)]
    firsts = [
        min(s.answered for s in probe.samples if s.answered and s.intended > done.at) - done.at
        for probe in touched
    ]
    found |= {"first probe": min(firsts), "last probe": max(firsts)}
    spent = watch.spent(done.at, done.at + max(firsts))
    return {name: seconds * 1e3 for name, seconds in found.items()}, spent


def logged(log: Path, since: int) -> list[tuple[str, float]]:
    """Read the events of interest that a log got after its first `since` bytes."""
    with log.open("rb") as file:
        file.seek(since)
        lines = [json.loads(line) for line in file if line.startswith(b"{")]
    return [
        (line["event"], datetime.fromisoformat(line["timestamp"]).timestamp())
        for line in lines
        if line["event"] in EVENTS
    ]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.restart", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--spare-workers", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--rate", type=float, default=0.0, help="messages a second beside it")
    parser.add_argument("--connections", type=int, default=200, help="of this load")
    parser.add_argument(
        "--directory", type=Path, default=None, help="of an earlier run's data [a temporary one]"
    )
    return parser.parse_args()


async def main() -> None:
    """Kill each kind several times; print the medians."""
    options = arguments()
    fate = random.Random(0)
    flags = ("--spare-workers", str(options.spare_workers), "--log-format", "json")
    async with AsyncExitStack() as stack:
        directory = options.directory or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="imfast-restart-"))
        )
        service = Service(directory, *flags, workers=options.workers)
        await stack.enter_async_context(service)
        probes = await open_probes(service, seconds=3600)
        for probe in probes:
            stack.push_async_callback(probe.close)
        if options.rate:
            load = Load(
                service,
                connections=options.connections,
                rate=options.rate,
                seconds=3600.0,
                transport="ws-proto",
                name=f"load-{time.time_ns()}",
            )
            await stack.enter_async_context(load)
        for kind in options.kinds:
            await kill_again_and_again(service, probes, kind, fate, rounds=options.rounds)


async def kill_again_and_again(
    service: Service, probes: list[Probe], kind: str, fate: random.Random, *, rounds: int
) -> None:
    """Print what one kind of kill does."""
    seen: dict[str, list[float]] = defaultdict(list)
    spent: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        await asyncio.sleep(CALM_SECONDS)
        times, processors = await stages(service, probes, kind, fate)
        for name, ms in times.items():
            seen[name].append(ms)
        for name, seconds in processors.items():
            spent[name].append(seconds)
    print(f"killed {kind} ({rounds} times), milliseconds, median and worst:")
    for name, all_ms in sorted(seen.items(), key=lambda item: statistics.median(item[1])):
        print(f"  {name:26} {statistics.median(all_ms):6.0f} {max(all_ms):6.0f}")
    print("  until the last probe's answer, medians: on a processor, waiting for one")
    for name, pairs in sorted(spent.items()):
        ran, waited = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
        print(f"  {name:26} {ran:6.0f} {waited:6.0f}")


if __name__ == "__main__":
    asyncio.run(main())
