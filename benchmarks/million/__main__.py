"""`python -m benchmarks.million`: hold a million authenticated connections, and use them.

Every user is in five groups. All connections are opened, held with a heartbeat of five minutes,
and in the last minute each answers a ping; then 1,000 random users get a message each, and a group
of 100,000 gets one. Prints a table and writes everything as JSON. Ends with 1 when the connections
could not be held or a message did not arrive, with 2 when the machine cannot hold so many.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from benchmarks.million.crowd import Crowd
from benchmarks.million.machine import Memory, Processors, reasons_against
from benchmarks.million.plan import FILES_PER_PROCESS, Plan
from benchmarks.soak.service import Service
from imfast._engine import build_info
from imfast.bench.limit_programs import LimitPrograms
from imfast.client import Conversation, IMFast, connect

HEARTBEAT_SECONDS = 300
MEMBERS_PER_CALL = 1_000
CALLS_AT_ONCE = 8
DIRECT_WITHIN_SECONDS = 1.0
LOOK_SECONDS = 0.2
GROUP_PATIENCE_SECONDS = 60.0
FILES_MORE = 1_000


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.million", description=__doc__)
    parser.add_argument("--connections", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=None, help="[as many as are needed]")
    parser.add_argument("--groups-each", type=int, default=5)
    parser.add_argument("--group-members", type=int, default=99_999)
    parser.add_argument("--directs", type=int, default=1_000, help="users who get a message each")
    parser.add_argument("--hold", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--ping", type=float, default=55.0, metavar="SECONDS", help="of the hold")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--json", type=Path, default=Path("million.json"))
    return parser.parse_args()


@contextlib.asynccontextmanager
async def reading(client: IMFast) -> AsyncIterator[None]:
    """Take what is pushed, so that nothing waits for it."""

    async def read() -> None:
        async for _ in client:
            pass

    task = asyncio.create_task(read())
    yield
    task.cancel()


class Run:
    """One run, and what it found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.plan = Plan(options.connections, options.groups_each, options.group_members)
        self.found: dict[str, Any] = {"seed": options.seed, "connections": options.connections}
        self.wrong: list[str] = []
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"{time.monotonic() - self._began:7.1f} s  {text}", flush=True)

    async def play(self, directory: Path) -> None:
        """Everything, in order."""
        options, plan = self.options, self.plan
        workers = options.workers or plan.workers
        started = time.monotonic()
        service = Service(
            directory,
            *("--heartbeat-s", f"{HEARTBEAT_SECONDS}s"),
            *("--unauthenticated-max", "4096"),
            *("--authenticate-timeout-s", "30s"),
            *("--log-level", "warning"),
            workers=workers,
        )
        async with service:
            self.found["start_seconds"] = time.monotonic() - started
            self.say(f"{workers} workers serve")
            pids = [worker.pid for worker in service.workers()]
            secret = (service.data / "secret.key").read_bytes().rstrip(b"\n")
            token = service.token("maker", seconds=options.hold)
            async with connect(service.url, token=token) as maker, reading(maker):
                groups = await self.make_groups(maker)
                base = Memory.of(pids, service.supervisor_pid)
                self.say(f"base: {base.workers_kib / 1024 / workers:.1f} MiB a worker")
                self.found["base"] = dataclasses.asdict(base)
                crowd = Crowd(directory, plan, port=service.port("ws"), secret=secret)
                self.say("tokens are signed")
                began = time.monotonic()
                with crowd:
                    seconds = time.monotonic() - began
                    self.opened(crowd, seconds)
                    await self.hold(crowd, pids, service.supervisor_pid, base)
                    await self.directs(crowd, maker)
                    await self.group(crowd, maker, groups[0])
                    if crowd.living() < len(plan.shares()):
                        self.wrong.append("a process of the generator lost a connection")

    async def make_groups(self, maker: IMFast) -> list[str]:
        """Make all groups; return their conversations."""
        gate = asyncio.Semaphore(CALLS_AT_ONCE)

        async def make(number: int) -> str:
            members = list(self.plan.members_of(number))
            async with gate:
                group = (await maker.create_group(title=f"group {number}")).conversation
                for first in range(0, len(members), MEMBERS_PER_CALL):
                    await maker.add(group, members[first : first + MEMBERS_PER_CALL])
                return group

        began = time.monotonic()
        groups = await asyncio.gather(*map(make, range(self.plan.groups)))
        self.found["groups"] = len(groups)
        self.found["memberships"] = len(groups) * self.plan.members
        self.found["groups_seconds"] = time.monotonic() - began
        self.say(f"{len(groups)} groups of {self.plan.members:,} members")
        return groups

    def opened(self, crowd: Crowd, seconds: float) -> None:
        """All are there: how quickly, and how they are spread."""
        counts = list(crowd.servers.values())
        total = sum(counts)
        self.found |= {
            "opened": total,
            "connects_per_second": total / seconds,
            "spread_max_to_mean": max(counts) * len(counts) / total,
        }
        self.say(f"{total:,} connections, {total / seconds:,.0f}/s")
        if total < self.plan.connections:
            self.wrong.append(f"{total:,} connections of {self.plan.connections:,}")

    async def hold(self, crowd: Crowd, pids: list[int], supervisor: int, base: Memory) -> None:
        """Hold them; in the end each answers a ping."""
        taken = Memory.of(pids, supervisor) - base
        each = {
            name: kib * 1024 / self.plan.connections
            for name, kib in dataclasses.asdict(taken).items()
        }
        self.found["bytes_each"] = each
        self.say(", ".join(f"{name[:-4]} {value:.0f} B" for name, value in each.items()) + " each")
        options = self.options
        quiet = max(0.0, options.hold - options.ping)
        processors = Processors([*pids, supervisor])
        await asyncio.sleep(quiet)
        if quiet:
            self.found["idle_cores"] = processors.seconds() / quiet
            self.say(f"{processors.seconds() / quiet:.3f} cores while idle")
        pinged, answered = await asyncio.to_thread(crowd.ping, options.ping)
        self.found["pings"] = {"sent": pinged, "answered": answered}
        self.say(f"{answered:,} of {pinged:,} pings answered")
        if answered < self.plan.connections:
            self.wrong.append(f"{answered:,} pings answered of {self.plan.connections:,}")

    async def directs(self, crowd: Crowd, maker: IMFast) -> None:
        """Random users get a message each."""
        users = random.Random(self.options.seed).sample(
            range(self.plan.connections), min(self.options.directs, self.plan.connections)
        )
        await asyncio.to_thread(crowd.arrivals)
        began = time.monotonic()
        await asyncio.gather(*(maker.send(to=f"u{user}", text="for you alone") for user in users))
        seconds = await self._arrived(crowd, len(users), began, DIRECT_WITHIN_SECONDS)
        self.found["directs"] = {"messages": len(users), "seconds": seconds}
        self.say(f"{len(users):,} direct messages, the last after {seconds:.3f} s")
        if seconds > DIRECT_WITHIN_SECONDS:
            self.wrong.append(f"a direct message took {seconds:.3f} s")

    async def group(self, crowd: Crowd, maker: IMFast, group: str) -> None:
        """A whole group gets one."""
        began = time.monotonic()
        await maker.send(to=Conversation(group), text="for all of you")
        seconds = await self._arrived(crowd, self.plan.members, began, GROUP_PATIENCE_SECONDS)
        self.found["group"] = {"members": self.plan.members, "seconds": seconds}
        self.say(f"{self.plan.members:,} members, the last after {seconds:.3f} s")

    async def _arrived(self, crowd: Crowd, wanted: int, began: float, patience: float) -> float:
        """Wait for so many messages; return when the last came, in seconds since `began`."""
        arrived = latest_ns = 0
        while arrived < wanted:
            more, last_ns = await asyncio.to_thread(crowd.arrivals)
            arrived, latest_ns = arrived + more, max(latest_ns, last_ns)
            if arrived < wanted and time.monotonic() - began > patience + LOOK_SECONDS:
                self.wrong.append(f"{arrived:,} messages arrived of {wanted:,}")
                break
            await asyncio.sleep(LOOK_SECONDS)
        return latest_ns / 1e9 - began


async def main() -> int:
    """Play one run."""
    options = arguments()
    if options.seed is None:
        options.seed = random.SystemRandom().getrandbits(32)
    if reasons := reasons_against(options.connections, FILES_PER_PROCESS + FILES_MORE):
        print("\n".join(f"cannot hold {options.connections:,}: {one}" for one in reasons))
        return 2
    run = Run(options)
    directory = Path(tempfile.mkdtemp(prefix="imfast-million-"))
    try:
        accept = LimitPrograms(directory / "limits").accept(connections=4_000)
        await run.play(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    run.found["accept_limit_per_second"] = accept["connections"] / accept["seconds"]
    run.found |= {"revision": build_info()["revision"], "wrong": run.wrong}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(run.found, indent=1) + "\n")
    print(json.dumps(run.found, indent=1))
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
