"""A worker that waits for another one's death, with its modules loaded.

Starting Python and loading the modules is most of what a replacement takes; a spare has that
behind it. One is enough: workers seldom die together, and the second of two starts as before.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import structlog

from imfast.supervisor.worker_process import WorkerProcess

__all__ = ["Spare"]

log = structlog.get_logger(__name__)


class Spare:
    """At most one waiting worker."""

    def __init__(self, start: Callable[[], Awaitable[WorkerProcess]]) -> None:
        """`start` starts a worker that is given no document."""
        self._start = start
        self._process: WorkerProcess | None = None
        self._reaper: asyncio.Task[None] | None = None

    async def refill(self) -> None:
        """Starts a spare if there is none. Where it fails there is none: it is no necessity."""
        if self._process is not None:
            return
        try:
            process = await self._start()
        except OSError as error:
            log.warning("spare_worker_not_started", error=str(error))
            return
        self._process = process
        self._reaper = asyncio.create_task(self._reap(process))

    async def take(self) -> WorkerProcess | None:
        """Returns the spare, if one lives: the caller waits for its death from now on."""
        process, self._process = self._process, None
        reaper, self._reaper = self._reaper, None
        if process is None or reaper is None:
            return None
        reaper.cancel()
        # Until it has let go of the process: two cannot wait for it.
        await asyncio.wait([reaper])
        return process if reaper.cancelled() else None

    async def close(self) -> None:
        """Ends the spare."""
        process = await self.take()
        if process is not None:
            process.send_signal(signal.SIGKILL)
            await process.wait()
            process.control.close()

    async def _reap(self, process: WorkerProcess) -> None:
        status = await process.wait()
        if self._process is process:
            self._process = None
        process.control.close()
        log.warning("spare_worker_died", status=status)
