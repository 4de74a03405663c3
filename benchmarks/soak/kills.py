"""Ways to end parts of a server, and what each of them touches."""

from __future__ import annotations

import random
import signal
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.soak.figures import Kill
from benchmarks.soak.service import Service

__all__ = ["KINDS", "kill"]

KINDS = ("a worker", "all workers", "the supervisor")


async def kill(service: Service, kind: str, fate: random.Random) -> Kill:
    """Kill, and wait until the server says that it is ready again."""
    workers = service.workers()
    victims = [fate.choice(workers)] if kind == "a worker" else workers
    done = Kill(
        kind,
        time.monotonic(),
        frozenset(victim.server for victim in victims),
        frozenset(partition for victim in victims for partition in victim.partitions),
    )
    staying = [worker.pid for worker in workers if worker not in victims]
    waited = processor_wait(staying)
    if kind == "the supervisor":
        service.kill_supervisor()
    else:
        service.signal([victim.pid for victim in victims], signal.SIGKILL)
    await service.wait_ready(frozenset(victim.pid for victim in victims))
    done.ready_after = time.monotonic() - done.at
    if staying:
        done.starved = (processor_wait(staying) - waited) / done.ready_after / len(staying)
    return done


def processor_wait(pids: list[int]) -> float:
    """Return the seconds that processes could have run and were not let (proc(5), schedstat)."""
    total = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            total += int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
    return total / 1e9
