"""What the machine has, and what a run takes of it."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

from imfast.bench.target import pss_kib

__all__ = ["Memory", "Processors", "reasons_against"]

KERNEL_BYTES_EACH = 8 << 10
"""Both ends of a loopback connection, with some room: 3 to 7 KB were seen."""
USER_BYTES_EACH = 2 << 10
"""Server and generator together."""
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def reasons_against(connections: int, files_per_process: int) -> list[str]:
    """Why this machine cannot hold so many, each with what mends it; none: it can."""
    reasons = []
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < files_per_process:
        reasons.append(f"{hard} open files a process of {files_per_process}: ulimit -Hn 20000")
    needed = connections * (KERNEL_BYTES_EACH + USER_BYTES_EACH)
    free = _meminfo("MemAvailable") * 1024
    if free < needed:
        reasons.append(f"{free >> 20} MiB of memory available of {needed >> 20} needed")
    system = int(Path("/proc/sys/fs/file-max").read_text())
    if system < 2 * connections:
        reasons.append(f"fs.file-max is {system}: sysctl -w fs.file-max={3 * connections}")
    return reasons


@dataclass(frozen=True)
class Memory:
    """Proportional set sizes in KiB, and what the kernel has for sockets and their files."""

    workers_kib: float
    supervisor_kib: float
    kernel_kib: float

    @classmethod
    def of(cls, workers: list[int], supervisor: int) -> Memory:
        """Read it now. Shared memory is in the workers' proportional sizes."""
        return cls(
            workers_kib=sum(pss_kib(pid) for pid in workers),
            supervisor_kib=pss_kib(supervisor),
            kernel_kib=_meminfo("Slab") + _meminfo("PageTables") + _socket_kib(),
        )

    def __sub__(self, base: Memory) -> Memory:
        return Memory(
            self.workers_kib - base.workers_kib,
            self.supervisor_kib - base.supervisor_kib,
            self.kernel_kib - base.kernel_kib,
        )


class Processors:
    """Processor time of the server's processes from now on."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._before = self._spent()

    def seconds(self) -> float:
        """What they have used since."""
        return self._spent() - self._before

    def _spent(self) -> float:
        return sum(_processor_seconds(pid) for pid in self._pids)


def _processor_seconds(pid: int) -> float:
    # Behind the name, which may hold anything: state is the first field (proc_pid_stat(5)).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def _meminfo(name: str) -> float:
    text = Path("/proc/meminfo").read_text()
    line = next(line for line in text.splitlines() if line.startswith(f"{name}:"))
    return float(line.split()[1])


def _socket_kib() -> float:
    """Pages in sockets' buffers."""
    text = Path("/proc/net/sockstat").read_text()
    tcp = next(line for line in text.splitlines() if line.startswith("TCP:"))
    return int(tcp.split()[-1]) * os.sysconf("SC_PAGE_SIZE") / 1024
