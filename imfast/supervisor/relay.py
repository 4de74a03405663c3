"""Carries a worker's question to all workers, and their answers back; keeps what was called back.

The supervisor alone writes the revocations: whatever it has told the workers about is in its own
copy, which a worker that starts reads from the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from imfast.access.revocations import Revocations
from imfast.supervisor.slot import Slot
from imfast.supervisor.worker_process import WorkerProcess

__all__ = ["Relay"]

log = structlog.get_logger(__name__)

PATIENCE_S = 2.0
"""For a worker's part. One that has not answered by then is being replaced, or soon will be."""


class Relay:
    """Questions under way."""

    def __init__(self, slots: Sequence[Slot], revocations: Revocations) -> None:
        self._slots = slots
        self._revocations = revocations
        self._asked = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._running: set[asyncio.Task[None]] = set()

    def asked(self, process: WorkerProcess, number: int, question: dict[str, Any]) -> None:
        """A worker asks all of them."""
        task = asyncio.create_task(self._carry(process, number, question))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def told(self, number: int, answer: Any) -> None:
        """A worker answers its part."""
        future = self._waiting.pop(number, None)
        if future is not None and not future.done():
            future.set_result(answer)

    async def _carry(self, process: WorkerProcess, number: int, question: dict[str, Any]) -> None:
        failed = self._write(question)
        parts = []
        for slot in self._slots:
            if slot.process is None:
                continue
            self._asked += 1
            slot.process.control.asked(self._asked, question)
            # One that is starting does what it is told before it serves, and is not waited for.
            if slot.state == "ready":
                future = asyncio.get_running_loop().create_future()
                self._waiting[self._asked] = future
                parts.append(future)
        done, missing = await asyncio.wait(parts, timeout=PATIENCE_S) if parts else (set(), set())
        for future in missing:
            future.cancel()
        self._waiting = {one: f for one, f in self._waiting.items() if not f.cancelled()}
        process.control.answered(
            number,
            {
                "answers": [future.result() for future in done],
                "missing": len(missing),
                "failed": failed,
            },
        )

    def _write(self, question: dict[str, Any]) -> str:
        """Makes a change durable before anybody hears of it; returns why it is not."""
        if "change" not in question:
            return ""
        self._revocations.apply(question["change"])
        try:
            self._revocations.write()
        except OSError as error:
            log.error("revocation_not_written", error=str(error))
            return str(error.strerror)
        return ""
