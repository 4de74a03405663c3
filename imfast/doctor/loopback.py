"""Opens connections to this machine itself, to see what one costs the kernel.

Bounded on purpose: an examination must not take a busy machine down. It stops early rather than
use more than a twentieth of the memory, half of the ports of an address or half of the files.
"""

from __future__ import annotations

import itertools
import resource
import select
import socket
import statistics
import struct
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SOCKETS_MAX", "Loopback", "open_loopback"]

SOCKETS_MAX = 15_000
"""Sockets at most, two a connection."""

STEPS = 10
FILES_KEPT = 256
BYTES_PER_PAIR_GUESSED = 32 << 10
PORTS_PER_ADDRESS = 4_000

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that closes at once: nothing stays behind in TIME_WAIT."""


@dataclass(frozen=True, slots=True)
class Loopback:
    """What was opened, and what it took."""

    connections: int
    bytes_per_end: float
    """Kernel memory of one idle end."""
    deviation: float
    """How far the second half was from what the first half foretold, as a share of the former."""


def open_loopback(sockets: int, memory_available_bytes: int) -> Loopback | None:
    """Opens and closes connections, `sockets` / 2 at most; None where not enough can be opened.

    Kernel memory is what its slabs grow by, which others on the machine change too: steps are
    compared, and the median counts.
    """
    with ExitStack() as stack:
        pairs = _affordable(min(sockets, SOCKETS_MAX), memory_available_bytes, stack)
        step = pairs // STEPS
        if step < 50:
            return None
        ends = _Ends(stack)
        samples = [_slab_bytes()]
        for number in range(STEPS):
            for pair in range(number * step, (number + 1) * step):
                ends.add(f"127.0.0.{2 + pair // PORTS_PER_ADDRESS}")
            samples.append(_slab_bytes())
    growth = [after - before for before, after in itertools.pairwise(samples)]
    first = statistics.median(growth[: STEPS // 2]) / step
    second = statistics.median(growth[STEPS // 2 :]) / step
    if second <= 0:
        return None
    return Loopback(
        connections=step * STEPS,
        bytes_per_end=statistics.median(growth) / step / 2,
        deviation=abs(first - second) / second,
    )


class _Ends:
    """Both ends of all connections, the accepted one in an epoll, as in a worker."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._epoll = stack.enter_context(select.epoll())
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))

    def add(self, source: str) -> None:
        near = self._stack.enter_context(socket.socket())
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        near.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        near.bind((source, 0))
        near.connect(self._listener.getsockname())
        far, _ = self._listener.accept()
        self._stack.enter_context(far)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        far.setblocking(False)
        self._epoll.register(far.fileno(), select.EPOLLIN | select.EPOLLRDHUP)


_IP_BIND_ADDRESS_NO_PORT = 24
"""The port is chosen at connect, so that one port serves many destinations (ip(7))."""


def _affordable(sockets: int, memory_available_bytes: int, stack: ExitStack) -> int:
    """Pairs that can be opened without anybody else noticing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    used, _, system = map(int, Path("/proc/sys/fs/file-nr").read_text().split())
    files = min(hard - FILES_KEPT, (system - used) // 2)
    memory = memory_available_bytes // 20 // BYTES_PER_PAIR_GUESSED
    return max(0, min(sockets // 2, files // 2, memory))


def _slab_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo has no line Slab")
