"""The process that workers are forked from, when everything they need is loaded.

**Requests.** The zygote has one SOCK_SEQPACKET socket to the supervisor. A request is the word
`fork` with the worker's descriptors (SCM_RIGHTS, unix(7)), the last of which is the pipe that its
document will come from. The answer is the worker's pid and the numbers that the descriptors have in
it, in the same order, as decimal text; or one number below zero, the errno of why there is none.
The end of the stream ends the zygote.

**Parents.** A worker is forked by a process that then ends, so that the supervisor, which is a
subreaper (prctl(2)), is its parent before the answer is written: reaping, PR_SET_PDEATHSIG and
getppid() are as if the supervisor had started it, and the zygote's death ends no worker.

**One thread.** Nothing that is loaded here may start a thread, open a file or draw a secret: each
worker would have its copy. Descriptors of one worker are closed here before the next is forked.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["FORK", "INHERITED_MAX", "fork_workers"]

FORK = b"fork"

INHERITED_MAX = 253
"""SCM_MAX_FD of Linux. 62 workers' listeners and links, and three more, are 189."""

IDLE_S = 1.0
"""Without a request for so long, nobody waits."""


def fork_workers(requests: int, idle: Callable[[], None]) -> int | None:
    """Serves the supervisor. Returns in every worker, with its document's descriptor.

    In the zygote it returns None when the supervisor needs it no more.

    Args:
        requests: the descriptor of the socket. All others but the standard ones are closed.
        idle: loads what a worker may need later, when nobody has asked for a while.
    """
    _close_but(requests)
    _raise_open_files()
    _name("imfast-zygote")
    with socket.socket(fileno=requests) as channel:
        settle_heap(requests)
        while True:
            if idle is not _nothing and not _readable(requests, IDLE_S):
                idle()
                idle = _nothing
                settle_heap(requests)
            try:
                message, inherited, _, _ = socket.recv_fds(channel, len(FORK), INHERITED_MAX)
            except ConnectionResetError:  # it ended without reading our last answer
                return None
            if not message:
                return None
            try:
                worker = _fork()
            except OSError as error:
                answer = [-(error.errno or 1)]
            else:
                if worker == 0:
                    _name("imfast-worker")
                    return inherited[-1]
                answer = [worker, *inherited]
            for descriptor in inherited:
                os.close(descriptor)
            with suppress(ConnectionError):  # it is gone, which is seen above
                channel.send(" ".join(map(str, answer)).encode())


def settle_heap(requests: int) -> None:
    """Takes what is loaded, which lives as long as a worker, out of the collector's sight.

    Otherwise the first collection of each worker would touch, and so copy, all pages that it shares
    with the others, and take tens of milliseconds. What is garbage is thrown away before, unless
    somebody waits for a worker.
    """
    if not _readable(requests, 0):
        gc.collect()
    gc.freeze()


def _fork() -> int:
    """Forks; returns 0 in the worker, and its pid here once it is the supervisor's child.

    Raises:
        OSError: the machine has no process or memory left.
    """
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        status = 1
        with suppress(OSError):
            worker = os.fork()
            if worker == 0:
                os.close(reading)
                os.close(writing)
                # Its own group: an interrupt from the terminal reaches the supervisor alone,
                # which then drains.
                os.setpgid(0, 0)
                return 0
            os.write(writing, str(worker).encode())
            status = 0
        os._exit(status)
    os.close(writing)
    pid = os.read(reading, 32)
    os.close(reading)
    os.waitpid(between, 0)
    if not pid:
        raise BlockingIOError(11, "no second process")
    return int(pid)


def _readable(descriptor: int, timeout_s: float) -> bool:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(timeout_s * 1000))


def _close_but(kept: int) -> None:
    """Closes what the supervisor was started with and did not know of."""
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if descriptor > 2 and descriptor != kept:
            with suppress(OSError):  # that of the listing itself
                os.close(descriptor)


def _raise_open_files() -> None:
    """Raises the soft limit to the hard one, as the supervisor does."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _name(name: str) -> None:
    """What ps(1) and top(1) show as the command, at most 15 characters."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _nothing() -> None:
    pass
