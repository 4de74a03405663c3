"""`python -m benchmarks.soak`: a server under load, one kill after the other, and its availability.

Prints a table and writes everything as JSON. Ends with 1 when anything was lost, repeated or
reordered; a bar that was missed is said, and no failure: figures depend on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import json
import os
import platform
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.soak.figures import (
    AVAILABILITY_MIN,
    FAILED_SECONDS,
    NOTICED_SECONDS,
    OUTAGE_SECONDS_MAX,
    Kill,
    availability,
    ms,
    note_breaks,
    outage,
    share_failed,
    table,
)
from benchmarks.soak.kills import KINDS, kill
from benchmarks.soak.load import Load
from benchmarks.soak.probes import Probe, open_probes
from benchmarks.soak.service import Service
from imfast._engine import build_info

# The first kill comes when the load has run for this share of the interval.
FIRST_SHARE = 0.5
# Probes that a kill drove to another worker go home this long after it.
HOME_SECONDS = 10.0
BROKEN = ("lost", "repeated", "reordered", "skipped", "duplicated", "conflicting")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--kill-every", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--rate", type=float, default=10_000.0, help="messages a second")
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--transport", default="ws-proto", help="of the load")
    parser.add_argument(
        "--spare-workers", type=int, default=1, help="of the server; 2 cover the death of all"
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=KINDS, help="what is killed, in turn"
    )
    parser.add_argument(
        "--seed", type=int, default=None, help="chooses the workers that are killed"
    )
    parser.add_argument("--json", type=Path, default=Path("soak.json"))
    parser.add_argument(
        "--directory", type=Path, default=None, help="for the data [a temporary one]"
    )
    return parser.parse_args()


async def soak(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Run; return the figures."""
    fate = random.Random(options.seed)
    service = Service(
        directory,
        *("--spare-workers", str(options.spare_workers)),
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(service)
        probes = await open_probes(service, seconds=options.seconds)
        for probe in probes:
            stack.push_async_callback(probe.close)
        load = Load(
            service,
            connections=options.connections,
            rate=options.rate,
            seconds=options.seconds,
            transport=options.transport,
        )
        await stack.enter_async_context(load)
        memory_before = service.memory_kib()
        kills = await kill_in_turn(options, service, probes, fate)
        result = await load.finish()
        memory_after = service.memory_kib()
        note_breaks(kills, load.progress)
        for probe in probes:
            await probe.close()
    return {
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}",
        "load_average": os.getloadavg()[0],
        "build": build_info(),
        "options": {name: str(value) for name, value in vars(options).items()},
        "kills": [describe(one) for one in kills],
        "table": table(kills),
        "availability": availability(kills) if kills else None,
        "probes_failed": share_failed([s for p in probes for s in p.samples], time.monotonic()),
        "probes": sum(len(probe.samples) for probe in probes),
        "memory_kib": {"start": memory_before, "end": memory_after},
        "result": result,
    }


async def kill_in_turn(
    options: argparse.Namespace, service: Service, probes: list[Probe], fate: random.Random
) -> list[Kill]:
    """Kill at every interval until the load's time is over."""
    began = time.monotonic()
    kills: list[Kill] = []
    for number in itertools.count():
        due = began + options.kill_every * (number + FIRST_SHARE)
        if due > began + options.seconds - HOME_SECONDS:
            return kills
        await asyncio.sleep(due - time.monotonic())
        homes = [probe.at for probe in probes]
        one = await kill(service, options.kinds[number % len(options.kinds)], fate)
        await asyncio.sleep(max(0.0, one.at + HOME_SECONDS - time.monotonic()))
        for probe, home in zip(probes, homes, strict=True):
            seconds = outage(probe.samples, one.at, time.monotonic() - 1.0, time.monotonic())
            (one.touched if one.touches(probe, home) else one.others).append(seconds)
        kills.append(one)
        print(said(one), flush=True)
        await asyncio.gather(*(probe.return_home() for probe in probes))
    raise AssertionError("itertools.count ends never")


def said(one: Kill) -> str:
    """Write a line about a kill."""
    touched = f"{ms(statistics.median(one.touched))}, worst {ms(max(one.touched))}"
    others = "none"
    if one.others:
        others = f"{ms(max(one.others))}, {one.starved:.0%} of the time without a free processor"
    return (
        f"killed {one.kind}: ready after {ms(one.ready_after)}; probes {touched}; others {others}"
    )


def describe(one: Kill) -> dict[str, Any]:
    """Make a kill plain JSON."""
    fields = dataclasses.asdict(one)
    return fields | {"servers": sorted(one.servers), "partitions": sorted(one.partitions)}


def report(figures: dict[str, Any]) -> bool:
    """Print the figures; return whether every promise was kept."""
    result = figures["result"]
    print(*figures["table"], sep="\n")
    print(f"acknowledged {result['acknowledged']} of {result['sent']} sent;", end=" ")
    print(f"{result['delivered']} deliveries, {result['again']} of them came again after breaks")
    print("; ".join(f"{name} {result[name]}" for name in BROKEN))
    for finding in result["findings"]:
        print(finding)
    worst = max((max(one["touched"], default=0.0) for one in figures["kills"]), default=0.0)
    others = max((max(one["others"], default=0.0) for one in figures["kills"]), default=0.0)
    print(
        f"a probe is a send every 100 ms, failed when not answered within {FAILED_SECONDS:.0f} s,"
    )
    print(f"and noticed a kill when one waited for more than {ms(NOTICED_SECONDS)}:")
    print(f"{figures['probes_failed']:.4%} of {figures['probes']} failed")
    missed = "" if worst <= OUTAGE_SECONDS_MAX else " MISSED"
    print(f"worst outage {ms(worst)} (bar {ms(OUTAGE_SECONDS_MAX)}){missed}; others {ms(others)}")
    if figures["availability"] is not None:
        missed = "" if figures["availability"] >= AVAILABILITY_MIN else " MISSED"
        share = f"{figures['availability']:.5%}"
        print(f"availability at one crash a day: {share} (bar {AVAILABILITY_MIN:.3%}){missed}")
    memory = figures["memory_kib"]
    print(f"memory (PSS): {memory['start'] / 1024:.0f} MiB at the start,", end=" ")
    print(f"{memory['end'] / 1024:.0f} MiB at the end")
    if result["saturated"]:
        print("the generator was saturated: latencies are its own")
    return not result["wrong"]


async def main() -> int:
    """Run until the end, or until a signal; nothing is left behind either way."""
    options = arguments()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="imfast-soak-"))
    try:
        figures = await soak(options, directory)
    finally:
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=1))
    return 0 if report(figures) else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except asyncio.CancelledError:
        sys.exit(130)
