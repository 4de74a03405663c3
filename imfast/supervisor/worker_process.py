"""One started worker: a child process, its control channel, its death."""

from __future__ import annotations

import asyncio
import os
import signal

from imfast.supervisor.control import ControlChannel
from imfast.supervisor.zygote import Child

__all__ = ["WorkerProcess"]


class WorkerProcess:
    """A running child. Over when `wait` has returned."""

    def __init__(self, child: Child, control: ControlChannel) -> None:
        self.child = child
        self.control = control
        self.pid = child.pid
        self._is_reaped = False

    @classmethod
    async def of(cls, child: Child) -> WorkerProcess:
        """Takes over a child that was just forked, or told already what to be."""
        return cls(child, await ControlChannel.open(child.control))

    async def wait(self) -> int:
        """Waits for the death and reaps; returns the exit status, negative for a signal."""
        # A process descriptor becomes readable at the exit: no SIGCHLD, no thread, no polling.
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self.child.watch, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self.child.watch)
        _, status = os.waitpid(self.pid, 0)  # noqa: ASYNC222 - it has ended
        self._is_reaped = True
        os.close(self.child.watch)
        self.child.document.close()
        return os.waitstatus_to_exitcode(status)

    def send_signal(self, number: signal.Signals) -> None:
        """Signals the child; does nothing once it is reaped."""
        if not self._is_reaped:
            signal.pidfd_send_signal(self.child.watch, number)
