"""A worker's place: what stays the same while workers come and go in it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from imfast.supervisor.backoff import Backoff
from imfast.supervisor.worker_process import WorkerProcess

__all__ = ["Slot", "Turn", "ready_document"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A worker is replaced on purpose."""

    succeeded: asyncio.Future[bool]
    """Whether the successor became ready."""
    undo: Callable[[], None] | None
    """Called where it did not, before the next one is started."""


@dataclass(slots=True)
class Slot:
    """One index of 0 to workers - 1. Changed by the supervisor only."""

    index: int
    server: str
    """What clients see in `connected`: ``n1.w0``."""
    partitions: tuple[int, ...]
    state: Literal["starting", "ready", "retiring", "waiting", "stopped"] = "starting"
    """`retiring`: makes room for a successor. `waiting`: dead, until its back-off is over."""
    turn: Turn | None = None
    """The replacement under way, from `retiring` to the successor's `ready`."""
    process: WorkerProcess | None = None
    generation: int = 0
    """Of the code and configuration that the present worker was made from."""
    incarnation: int = 0
    """Workers started here, the present one included."""
    epochs: dict[int, int] = field(default_factory=dict)
    """Of its partitions, from the last `ready`."""
    backoff: Backoff = field(default_factory=Backoff)
    beats: int = 0
    """The engine's counter when it was last seen to move."""
    still_s: float = 0.0
    """For how long it has not moved."""
    faults: Counter[str] = field(default_factory=Counter)
    """By kind, since the server started: what its workers told, and how they ended."""
    faults_told: dict[str, int] = field(default_factory=dict)
    """Of these, what the present worker told."""
    report: dict[str, Any] = field(default_factory=dict)
    """What the present worker told last when it was asked how it goes."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Clear from a question until its answer."""
    adopter: int | None = None
    """The sibling that accepts on this worker's listeners meanwhile."""

    @property
    def epoch(self) -> int:
        """The highest epoch of its partitions; 0 when it owns none."""
        return max(self.epochs.values(), default=0)

    @property
    def is_served(self) -> bool:
        """Whether clients are served in its place: by it, or by siblings until its successor is."""
        return self.state == "ready" or self.turn is not None

    def turned(self, *, succeeded: bool) -> None:
        """Ends the replacement under way, if there is one."""
        turn, self.turn = self.turn, None
        if turn is None:
            return
        if not succeeded and turn.undo is not None:
            turn.undo()
        if not turn.succeeded.done():
            turn.succeeded.set_result(succeeded)

    def told_faults(self, counts: dict[str, int]) -> None:
        """Takes the present worker's totals."""
        for kind, count in counts.items():
            self.faults[kind] += count - self.faults_told.get(kind, 0)
        self.faults_told = counts

    async def ask(self) -> None:
        """Has the worker report; returns when it has."""
        if self.process is not None and self.state == "ready":
            self.asked.clear()
            self.process.control.report()
            await self.asked.wait()

    def reported(self, content: dict[str, Any]) -> None:
        """Takes the present worker's report."""
        self.report = content
        self.asked.set()

    def status(self) -> dict[str, Any]:
        """This worker as `/v1/status` shows it."""
        return {
            "server": self.server,
            "state": self.state,
            "pid": self.process.pid if self.process else None,
            "partitions": self.partitions,
            "epochs": {str(partition): epoch for partition, epoch in self.epochs.items()},
            "restarts": max(0, self.incarnation - 1),
            "adopter": self.adopter,
            "faults": dict(self.faults),
            **self.report,
        }


def ready_document(pid: int, ports: dict[str, int], slots: list[Slot]) -> dict[str, Any]:
    """The ready file's content. Only for slots that are all ready."""
    return {
        "pid": pid,
        "ports": ports,
        "workers": [
            {
                "server": slot.server,
                "pid": slot.process.pid if slot.process else None,
                "partitions": slot.partitions,
                "epoch": slot.epoch,
            }
            for slot in slots
        ],
    }
