"""One started worker: a child process, its control channel, its death."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

from imfast.config.worker_document import WorkerDocument
from imfast.supervisor.control import ControlChannel

__all__ = ["WORKER_COMMAND", "WorkerProcess"]

WORKER_COMMAND: tuple[str, ...] = (sys.executable, "-P", "-m", "imfast.worker")
"""`-P` keeps the working directory out of the module path: what lies there is not ours."""


class WorkerProcess:
    """A running child. Made by `start`, over when `wait` has returned."""

    def __init__(self, child: subprocess.Popen[bytes], control: ControlChannel) -> None:
        self._child = child
        self._watch = os.pidfd_open(child.pid)
        self.control = control
        self.pid = child.pid

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        document: Callable[[int], WorkerDocument],
        inherited: Sequence[int],
    ) -> WorkerProcess:
        """Starts a worker.

        Args:
            command: the program; the document's descriptor is added as its last argument.
            document: makes the start document from the worker's control descriptor.
            inherited: descriptors that the worker gets besides, under the same numbers.

        Raises:
            OSError: the machine has no process, memory or descriptor left.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                child = _spawn(command, document(theirs.fileno()), (*inherited, theirs.fileno()))
            except BaseException:
                ours.close()
                raise
        return cls(child, await ControlChannel.open(ours))

    async def wait(self) -> int:
        """Waits for the death and reaps; returns the exit status, negative for a signal."""
        # A process descriptor becomes readable at the exit: no SIGCHLD, no thread, no polling.
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self._watch, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self._watch)
        status = self._child.wait()
        os.close(self._watch)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Signals the child; does nothing once it is reaped."""
        self._child.send_signal(number)


def _spawn(
    command: Sequence[str], document: WorkerDocument, inherited: Sequence[int]
) -> subprocess.Popen[bytes]:
    memory = os.memfd_create("imfast-worker")
    try:
        os.write(memory, document.encode())
        os.lseek(memory, 0, os.SEEK_SET)
        return subprocess.Popen(  # noqa: S603 - the command is ours
            [*command, str(memory)],
            stdin=subprocess.DEVNULL,
            pass_fds=(*inherited, memory),
            # Its own group: an interrupt from the terminal reaches the supervisor alone, which
            # then drains.
            process_group=0,
        )
    finally:
        os.close(memory)
