"""`python -m benchmarks.soak.restart`: where the time between a kill and the first answer goes.

An idle server with a small log is killed again and again; each line has the milliseconds from the
kill to what the server logged and to what its clients saw. `make soak` has the same under load.
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
from datetime import datetime
from pathlib import Path

from benchmarks.soak.kills import KINDS, kill
from benchmarks.soak.probes import Probe, open_probes
from benchmarks.soak.service import Service

SETTLE_SECONDS = 3.0
"""Longer than a spare takes to load its modules."""
CALM_SECONDS = 10.5
"""A worker that lived for less is started with a delay; see imfast.supervisor.backoff."""
EVENTS = ("worker_started", "partition open", "worker_ready")


async def stages(
    service: Service, probes: list[Probe], kind: str, fate: random.Random
) -> dict[str, float]:
    """Kill; return the milliseconds to every stage."""
    length = service.log.stat().st_size
    wall = time.time()
    done = await kill(service, kind, fate)
    homes = [probe.at for probe in probes]
    await asyncio.sleep(SETTLE_SECONDS)
    found = {"ready file": done.ready_after * 1e3}
    if kind == "the supervisor":
        found["started again"] = (service.spawned_at - done.at) * 1e3
    for name, at in logged(service.log, length):
        found[f"first {name}"] = min(found.get(f"first {name}", 1e9), (at - wall) * 1e3)
        found[f"last {name}"] = (at - wall) * 1e3
    touched = [p for p, home in zip(probes, homes, strict=True) if done.touches(p, home)]
    for probe in touched:
        answers = [s.answered for s in probe.samples if s.answered and s.intended > done.at]
        first = (min(answers) - done.at) * 1e3
        found["first probe"] = min(found.get("first probe", 1e9), first)
        found["last probe"] = max(found.get("last probe", 0.0), first)
    return found


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


async def main() -> None:
    """Kill each kind several times; print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.restart", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--spare-workers", type=int, default=1)
    options = parser.parse_args()
    fate = random.Random(0)
    with tempfile.TemporaryDirectory() as directory:
        flags = ("--spare-workers", str(options.spare_workers), "--log-format", "json")
        async with Service(Path(directory), *flags, workers=options.workers) as service:
            probes = await open_probes(service, seconds=3600)
            for kind in KINDS:
                seen: dict[str, list[float]] = defaultdict(list)
                for _ in range(options.rounds):
                    await asyncio.sleep(CALM_SECONDS)
                    for name, ms in (await stages(service, probes, kind, fate)).items():
                        seen[name].append(ms)
                print(f"killed {kind} ({options.rounds} times), milliseconds, median and worst:")
                for name, all_ms in sorted(
                    seen.items(), key=lambda item: statistics.median(item[1])
                ):
                    print(f"  {name:22} {statistics.median(all_ms):6.0f} {max(all_ms):6.0f}")
            for probe in probes:
                await probe.close()


if __name__ == "__main__":
    asyncio.run(main())
