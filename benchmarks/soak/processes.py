"""What the processes of a run do between a kill and the first answer, by the processor's time.

On a busy machine times by the clock say more about the others than about us; the processor's time
of each process, and how long it could have run and was not let, say where an outage comes from.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["EVERY_SECONDS", "Watch"]

EVERY_SECONDS = 0.005

OURS = "clients"
"""This process: probes, and what a service manager does."""


class Watch:
    """Samples all descendants of this process, in a thread, from entry to exit."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, dict[tuple[int, str], tuple[float, float]]]] = []
        """Time, and for each process and name its seconds on a processor and waiting for one."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            seen = _look()
            # Afterwards: what was seen was there by then.
            self._samples.append((time.monotonic(), seen))

    def first_seen(self, since: float) -> dict[str, float]:
        """The time at which a new process of each name was there first, after `since`."""
        before = {pid for at, seen in self._samples if at <= since for pid, _ in seen}
        found: dict[str, float] = {}
        for at, seen in self._samples:
            for pid, name in seen:
                if at > since and pid not in before:
                    found.setdefault(name, at)
        return found

    def spent(self, since: float, until: float) -> dict[str, tuple[float, float]]:
        """By name: the seconds that processes were on a processor, and waited for one."""
        total: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        last: dict[int, tuple[float, float]] = {}
        for at, seen in self._samples:
            for (pid, name), (ran, waited) in seen.items():
                # One that is new has spent all that it has since it is there.
                before = last.get(pid, (ran, waited) if at <= since else (0.0, 0.0))
                if since < at <= until:
                    # What its threads had spent goes when they end.
                    total[name][0] += max(0.0, ran - before[0])
                    total[name][1] += max(0.0, waited - before[1])
                last[pid] = (ran, waited)
        return {name: (ran, waited) for name, (ran, waited) in total.items()}


def _look() -> dict[tuple[int, str], tuple[float, float]]:
    seen = {}
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        # A process that ends meanwhile is passed over.
        with suppress(OSError, IndexError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            waiting.extend(map(int, children.split()))
            ran = waited = 0.0
            for task in Path(f"/proc/{pid}/task").iterdir():
                numbers = (task / "schedstat").read_text().split()
                ran, waited = ran + int(numbers[0]) / 1e9, waited + int(numbers[1]) / 1e9
            seen[pid, OURS if pid == os.getpid() else _name(pid)] = (ran, waited)
    return seen


def _name(pid: int) -> str:
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    if name.startswith("imfast"):
        return name
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    if b"serve" in command:
        return "supervisor"
    if b"imfast.worker" in command:
        return "zygote, loading"
    return "load"
