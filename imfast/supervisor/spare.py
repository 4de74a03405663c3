"""Workers that wait for another one's death, with their modules loaded.

Starting Python and loading the modules is most of what a replacement takes; a spare has that
behind it. One is enough where workers die one by one; as many as there are workers stand ready for
the death of all.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import structlog

from imfast.supervisor.worker_process import WorkerProcess
from imfast.supervisor.zygote import Child

__all__ = ["Spares"]

log = structlog.get_logger(__name__)


class Spares:
    """At most `count` waiting workers."""

    def __init__(self, start: Callable[[], Awaitable[WorkerProcess]], count: int) -> None:
        """`start` starts a worker that is given no document."""
        self._start = start
        self._count = count
        self._waiting: dict[WorkerProcess, asyncio.Task[None]] = {}
        """Each with the task that reaps it."""

    async def refill(self) -> None:
        """Starts what is missing. Where that fails there are fewer: they are no necessity."""
        while len(self._waiting) < self._count:
            try:
                process = await self._start()
            except OSError as error:
                log.warning("spare_worker_not_started", error=str(error))
                return
            self._keep(process)

    async def add(self, child: Child) -> None:
        """Takes one that was forked already; there may be one too many then."""
        self._keep(await WorkerProcess.of(child))

    def _keep(self, process: WorkerProcess) -> None:
        self._waiting[process] = asyncio.create_task(self._reap(process))

    async def take(self) -> WorkerProcess | None:
        """Returns a spare, if one lives: the caller waits for its death from now on."""
        while self._waiting:
            # The oldest: it has had most time to load its modules.
            process = next(iter(self._waiting))
            reaper = self._waiting.pop(process)
            reaper.cancel()
            # Until it has let go of the process: two cannot wait for it.
            await asyncio.wait([reaper])
            if reaper.cancelled():
                return process
        return None

    async def close(self) -> None:
        """Ends the spares."""
        while (process := await self.take()) is not None:
            process.send_signal(signal.SIGKILL)
            await process.wait()
            process.control.close()

    async def _reap(self, process: WorkerProcess) -> None:
        status = await process.wait()
        self._waiting.pop(process, None)
        process.control.close()
        log.warning("spare_worker_died", status=status)
