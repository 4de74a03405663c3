"""`python -m benchmarks.soak.chaos`: kills at random moments, also while a server recovers.

A round is a new server under load for a while, killed again and again, and checked in the end by
the generator's `verify`. Some rounds have a small disk, which is full at times, also while others
are killed. Rounds go on until there were as many kills as wanted; totals are kept in
a file, so that a run may be stopped and gone on with. The first round that finds something ends
the run with 1, and its seed, its server's log and its data stay where they are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.soak.load import Load
from benchmarks.soak.service import Service
from benchmarks.soak.small_disk import CannotMountError, SmallDisk

__all__ = ["Round", "play"]

# One worker more than partitions: it is a gateway only.
WORKERS = 3
PARTITIONS = 2
# Chosen as often as they stand here.
KINDS = (
    *("an owner", "an owner", "a gateway", "all workers", "the supervisor", "everything"),
    *("a pause", "whoever is there"),
)
PAUSE_SECONDS = (0.05, 4.0)
# Of the rounds: the data directory on a disk of this size, in log files short enough that new ones
# are wanted while it is full.
SMALL_DISK_SHARE = 0.3
SMALL_DISK_MEBIBYTES = 128
SMALL_DISK_FLAGS = ("--segment-bytes", "1MiB")
# Of the strikes of such a round.
FULL_SHARE = 0.3
FULL_SECONDS = (0.2, 6.0)
# Between a server that is ready again and the next kill.
CALM_SECONDS = (0.0, 1.0)
# Some kills do not wait for that.
HURRY_SHARE = 0.25
HURRY_SECONDS = 0.4
# A worker that dies early again and again is started again after a while only.
READY_SECONDS = 30.0
ADDED = ("sent", "acknowledged", "delivered", "again", "refused", "breaks", "history_rows")
BROKEN = ("lost", "repeated", "reordered", "skipped", "duplicated", "conflicting")


@dataclass
class Round:
    """What happened in one round."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    small_disks: int = 0
    """1: its data was on one."""
    full_disks: int = 0
    """How often that was full."""
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def is_wrong(self) -> bool:
        """Whether anything was lost, repeated or reordered, or could not be checked."""
        return bool(self.result["wrong"])


async def play(
    directory: Path, seed: int, *, seconds: float, rate: float, connections: int, transport: str
) -> Round:
    """Play one round in a new directory."""
    fate = random.Random(seed)
    done = Round(seed)
    flags = ["--partitions", str(PARTITIONS)]
    async with AsyncExitStack() as stack:
        disk = small_disk(stack, directory, fate)
        if disk is not None:
            flags += SMALL_DISK_FLAGS
            done.small_disks = 1
        service = await stack.enter_async_context(Service(directory, *flags, workers=WORKERS))
        load = Load(
            service, connections=connections, rate=rate, seconds=seconds, transport=transport
        )
        await stack.enter_async_context(load)
        until = time.monotonic() + seconds
        while True:
            await asyncio.sleep(fate.uniform(*CALM_SECONDS))
            if time.monotonic() >= until:
                break
            if disk is not None and not disk.is_full and fate.random() < FULL_SHARE:
                disk.fill_for(fate.uniform(*FULL_SECONDS))
                done.full_disks += 1
            kind = await strike(service, fate)
            done.kills[kind] += 1
            if fate.random() < HURRY_SHARE:
                await asyncio.sleep(fate.uniform(0.0, HURRY_SECONDS))
            else:
                await settle(service)
        done.result = await load.finish()
        if disk is not None and done.is_wrong:
            # The disk goes with the round.
            shutil.copytree(service.data, directory / "data-found")
    return done


def small_disk(stack: AsyncExitStack, directory: Path, fate: random.Random) -> SmallDisk | None:
    """Mount one for the data of some rounds; None for the others, and where nobody may mount."""
    if fate.random() >= SMALL_DISK_SHARE:
        return None
    disk = SmallDisk(directory / "data", mebibytes=SMALL_DISK_MEBIBYTES)
    try:
        return stack.enter_context(disk)
    except CannotMountError as error:
        print(f"no full disks: {error}", file=sys.stderr)
        return None


async def settle(service: Service) -> None:
    """Wait until a server is ready whose workers all live."""
    give_up = time.monotonic() + READY_SECONDS
    while time.monotonic() < give_up:
        living = set(service.worker_pids())
        workers = {worker.pid for worker in service.workers()}
        if workers and workers <= living:
            return
        await asyncio.sleep(0.01)


async def strike(service: Service, fate: random.Random) -> str:
    """Kill or pause something; return what."""
    kind = fate.choice(KINDS)
    workers = service.workers()
    present = service.worker_pids()
    owners = [worker.pid for worker in workers if worker.partitions]
    gateways = [worker.pid for worker in workers if not worker.partitions]
    match kind:
        case "an owner" if owners:
            service.signal([fate.choice(owners)], signal.SIGKILL)
        case "a gateway" if gateways:
            service.signal([fate.choice(gateways)], signal.SIGKILL)
        case "a pause" if workers:
            await pause(service, fate.choice(workers).pid, fate.uniform(*PAUSE_SECONDS))
        case "the supervisor":
            service.kill_supervisor()
        case "everything":
            service.kill_supervisor()
            service.signal(present, signal.SIGKILL)
        case "all workers":
            service.signal(present, signal.SIGKILL)
        case _ if present:
            kind = "whoever is there"
            service.signal([fate.choice(present)], signal.SIGKILL)
        case _:
            kind = "the supervisor"
            service.kill_supervisor()
    return kind


async def pause(service: Service, pid: int, seconds: float) -> None:
    """Stop a worker for a while; beyond 3 s its supervisor kills it."""
    service.signal([pid], signal.SIGSTOP)
    await asyncio.sleep(seconds)
    service.signal([pid], signal.SIGCONT)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="in all, those of the file included")
    parser.add_argument("--state", type=Path, default=Path("chaos.json"), help="the totals")
    parser.add_argument("--round-seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=2_000.0, help="messages a second")
    parser.add_argument("--connections", type=int, default=60)
    parser.add_argument("--seed", type=int, default=None, help="of the first round")
    return parser.parse_args()


def add(totals: dict[str, Any], done: Round) -> None:
    """Add a round to the totals."""
    kills = Counter(totals.setdefault("kills", {}))
    kills.update(done.kills)
    totals["kills"] = dict(sorted(kills.items()))
    totals["kills_in_all"] = kills.total()
    totals["rounds"] = totals.get("rounds", 0) + 1
    totals["small_disks"] = totals.get("small_disks", 0) + done.small_disks
    totals["full_disks"] = totals.get("full_disks", 0) + done.full_disks
    for name in (*ADDED, *BROKEN):
        totals[name] = totals.get(name, 0) + done.result[name]
    longest = done.result.get("outages", {}).get("max_us", 0.0) / 1e6
    totals["longest_outage_seconds"] = max(totals.get("longest_outage_seconds", 0.0), longest)


async def main() -> int:
    """Play rounds until there were enough kills, or a signal comes."""
    options = arguments()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    options.state.parent.mkdir(parents=True, exist_ok=True)
    totals = json.loads(options.state.read_text()) if options.state.exists() else {}
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    while totals.get("kills_in_all", 0) < options.kills:
        directory = Path(tempfile.mkdtemp(prefix="imfast-chaos-"))
        try:
            done = await play(
                directory,
                seed,
                seconds=options.round_seconds,
                rate=options.rate,
                connections=options.connections,
                transport=random.Random(seed).choice(["ws-proto", "ws-json", "tcp"]),
            )
        except asyncio.CancelledError:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        if done.is_wrong:
            print(f"seed {seed}: wrong; log and data are in {directory}")
            print(json.dumps(done.result, indent=1))
            return 1
        shutil.rmtree(directory)
        add(totals, done)
        options.state.write_text(json.dumps(totals, indent=1) + "\n")
        print(
            f"seed {seed}: {done.kills.total()} kills, {done.result['sent']} sent,"
            f" {done.result['delivered']} delivered, nothing wrong;"
            f" {totals['kills_in_all']} kills in all",
            flush=True,
        )
        seed += 1
    print(json.dumps(totals, indent=1))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except asyncio.CancelledError:
        sys.exit(130)
