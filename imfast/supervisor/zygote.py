"""The zygote as the supervisor uses it: forked early, asked for workers, replaced when it dies.

See imfast.worker.zygote for what it is. The first one is forked off the supervisor itself, when
that has loaded what workers need and nothing else, so that both load it once. A later one is a
program of its own, because by then the supervisor has threads and secrets. This module loads
nothing that takes time.
"""

from __future__ import annotations

import fcntl
import gc
import io
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from imfast.worker.parent import become_subreaper

__all__ = ["WORKER_COMMAND", "Child", "Zygote", "ZygoteError"]

WORKER_COMMAND: tuple[str, ...] = (sys.executable, "-P", "-m", "imfast.worker")
"""`-P` keeps the working directory out of the module path: what lies there is not ours."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""As in imfast.config.worker_document."""

DOCUMENT_BYTES_MAX = 1 << 20
"""What any process may make a pipe hold (fs.pipe-max-size), far above a document."""

ANSWER_BYTES_MAX = 4096
"""A pid and `INHERITED_MAX` descriptors take less."""

LOADING_S_MAX = 30.0
"""How long a zygote may load its modules before it is given up."""
FORKING_S_MAX = 2.0
"""The same for a worker of a zygote that is loaded; that takes milliseconds."""
QUICK_DEATH_S = 10.0
"""A zygote that lived for less is started again when it is needed, not before."""


class ZygoteError(OSError):
    """It ended, or had to be ended, before it had forked the worker."""

    def __init__(self, status: int) -> None:
        """`status` is its exit status, negative for a signal."""
        super().__init__(f"the process that forks workers ended with {status}")
        self.status = status


class Child:
    """A worker that was just forked, and waits for its document."""

    def __init__(
        self,
        pid: int,
        control: socket.socket,
        document: io.FileIO,
        numbers: Mapping[int, int],
        control_number: int,
    ) -> None:
        self.pid = pid
        self.watch = os.pidfd_open(pid)
        """A process descriptor, readable when it has ended."""
        self.control = control
        """Our end of its control channel."""
        self.document = document
        """The pipe that it reads its document from, closed when it is given."""
        self.numbers = numbers
        """Descriptor here → the same one in the worker."""
        self.control_number = control_number
        """Of the worker's end of its control channel, in the worker."""


class Zygote:
    """At most one process."""

    def __init__(self, command: Sequence[str] = WORKER_COMMAND) -> None:
        """`command` gets a socket's descriptor and our pid as its last arguments."""
        self._command = command
        self._requests: socket.socket | None = None
        self._pid = 0
        self._watch = -1
        self._started = 0.0
        self._is_loaded = False

    def another(self) -> Zygote:
        """One more, not started yet, that loads what is installed when it starts."""
        return Zygote(self._command)

    def start(self) -> None:
        """Starts it if it does not run; it loads its modules while we do something else.

        Raises:
            OSError: the machine has no process, memory or descriptor left.
        """
        if self._requests is not None:
            return
        become_subreaper()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            theirs.set_inheritable(True)
            try:
                self._pid = os.posix_spawn(
                    self._command[0],
                    [*self._command, str(theirs.fileno()), str(os.getpid())],
                    os.environ,
                    file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
                    # Workers inherit the mask: a signal waits until their handlers stand.
                    setsigmask=STOP_SIGNALS,
                    setpgroup=0,
                )
            except BaseException:
                ours.close()
                raise
        self._begun(ours)

    def split_off(self, be_zygote: Callable[[int, int], NoReturn] | None = None) -> None:
        """Loads what workers need, and forks it off this process, which has one thread.

        Args:
            be_zygote: gets a socket's descriptor and our pid, in the new process.

        Raises:
            OSError: the machine has no process, memory or descriptor left.
        """
        if be_zygote is None:
            from imfast.worker import __main__ as worker

            be_zygote = worker.be_zygote
        become_subreaper()
        supervisor = os.getpid()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Workers inherit the mask: a signal waits until their handlers stand.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                try:
                    ours.close()
                    _forget_supervisor()
                    be_zygote(theirs.detach(), supervisor)
                finally:
                    os._exit(1)  # two supervisors would be the worst of all outcomes
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._begun(ours)

    def revive(self) -> int | None:
        """Starts it again if it has died; returns the exit status if so.

        Raises:
            OSError: as `start`; it is tried again when a worker is needed.
        """
        if self._requests is None or not self._has_ended():
            return None
        status = self._bury()
        if time.monotonic() - self._started >= QUICK_DEATH_S:
            self.start()
        return status

    def fork(self, given: Sequence[int]) -> Child:
        """Has a worker forked that gets the descriptors `given`; waits until it is there.

        Raises:
            ZygoteError: the zygote ended; the next call starts another one.
            OSError: the machine has no process, memory or descriptor left.
        """
        self.revive()
        self.start()
        control, theirs = socket.socketpair()
        with theirs:
            reading, writing = os.pipe()
            document = io.FileIO(writing, "wb")
            try:
                # The document fits: writing it never waits for the worker.
                fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, DOCUMENT_BYTES_MAX)
                passed = [*given, theirs.fileno(), reading]
                pid, *numbers = self._ask(passed)
                if pid < 0:
                    raise OSError(-pid, os.strerror(-pid))
                here_there = dict(zip(passed, numbers, strict=True))
                return Child(pid, control, document, here_there, numbers[-2])
            except BaseException:
                control.close()
                document.close()
                raise
            finally:
                os.close(reading)

    def close(self) -> None:
        """Ends it. Workers live on."""
        if self._requests is not None:
            self._bury(patience_s=0.0)

    def _begun(self, requests: socket.socket) -> None:
        self._watch = os.pidfd_open(self._pid)
        self._requests = requests
        self._started = time.monotonic()
        self._is_loaded = False

    def _ask(self, passed: Sequence[int]) -> list[int]:
        requests = self._requests
        if requests is None:
            raise ZygoteError(0)
        requests.settimeout(FORKING_S_MAX if self._is_loaded else LOADING_S_MAX)
        try:
            socket.send_fds(requests, [b"fork"], passed)
            answer = requests.recv(ANSWER_BYTES_MAX)
        except TimeoutError:
            raise ZygoteError(self._bury(patience_s=0.0)) from None
        except ConnectionError:
            answer = b""
        if not answer:
            raise ZygoteError(self._bury())
        self._is_loaded = True
        return [int(number) for number in answer.split()]

    def _bury(self, patience_s: float = FORKING_S_MAX) -> int:
        """Waits for its end, kills it when that does not come, reaps; returns its exit status."""
        requests, self._requests = self._requests, None
        if requests is not None:
            requests.close()
        deadline = time.monotonic() + patience_s
        while not self._has_ended() and time.monotonic() < deadline:
            time.sleep(0.005)
        signal.pidfd_send_signal(self._watch, signal.SIGKILL)  # to a zombie it does nothing
        os.close(self._watch)
        _, status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _has_ended(self) -> bool:
        # Not by poll(2), which refuses to work where no descriptor is left.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PIDFD, self._watch, options) is not None


def _forget_supervisor() -> None:
    """Makes a process that was just forked what a program of its own would be."""
    os.setpgid(0, 0)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if not sys.flags.safe_path:  # as `WORKER_COMMAND`
        del sys.path[0]
    gc.enable()  # which imfast.__main__ disabled
