"""One started worker: a child process, its control channel, its death."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

from imfast.config.worker_document import STOP_SIGNALS, WorkerDocument
from imfast.supervisor.control import ControlChannel

__all__ = ["WORKER_COMMAND", "WorkerProcess"]

WORKER_COMMAND: tuple[str, ...] = (sys.executable, "-P", "-m", "imfast.worker")
"""`-P` keeps the working directory out of the module path: what lies there is not ours."""


DOCUMENT_BYTES_MAX = 1 << 20
"""What any process may make a pipe hold (fs.pipe-max-size), far above a document."""


class WorkerProcess:
    """A running child. Made by `start`, over when `wait` has returned.

    It loads its modules, and then waits until `give` tells it what to be.
    """

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        control: ControlChannel,
        control_descriptor: int,
        document: int,
    ) -> None:
        self._child = child
        self._control_descriptor = control_descriptor
        # The writing end of the pipe that the worker reads its document from; -1 once given.
        self._document = document
        self._watch = os.pidfd_open(child.pid)
        self.control = control
        self.pid = child.pid

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        inherited: Sequence[int],
    ) -> WorkerProcess:
        """Starts a worker.

        Args:
            command: the program; the document's descriptor is added as its last argument.
            inherited: descriptors that the worker gets besides, under the same numbers.

        Raises:
            OSError: the machine has no process, memory or descriptor left.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            try:
                child, document = _spawn(command, (*inherited, descriptor))
            except BaseException:
                ours.close()
                raise
        return cls(child, await ControlChannel.open(ours), descriptor, document)

    def give(self, document: Callable[[int], WorkerDocument]) -> None:
        """Tells the worker what to be, once.

        Args:
            document: makes the start document from the worker's control descriptor.

        Raises:
            OSError: the child has ended already.
        """
        descriptor, self._document = self._document, -1
        with os.fdopen(descriptor, "wb") as pipe:
            pipe.write(document(self._control_descriptor).encode())

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
        if self._document >= 0:
            os.close(self._document)
            self._document = -1
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Signals the child; does nothing once it is reaped."""
        self._child.send_signal(number)


def _spawn(command: Sequence[str], inherited: Sequence[int]) -> tuple[subprocess.Popen[bytes], int]:
    """Starts the program; returns it and where its document is to be written."""
    reading, writing = os.pipe()
    try:
        # The document fits: writing it never waits for a child that still loads its modules.
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, DOCUMENT_BYTES_MAX)
        # The child inherits the mask: a signal waits until its handlers stand.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            child = subprocess.Popen(  # noqa: S603 - the command is ours
                [*command, str(reading)],
                stdin=subprocess.DEVNULL,
                pass_fds=(*inherited, reading),
                # Its own group: an interrupt from the terminal reaches the supervisor alone, which
                # then drains.
                process_group=0,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    return child, writing
