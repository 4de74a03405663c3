"""How many connections a machine can hold, and what limits it first."""

from __future__ import annotations

from dataclasses import dataclass

from imfast.config.schema import Settings
from imfast.doctor.loopback import Loopback
from imfast.doctor.readings import Readings
from imfast.supervisor.open_files import connections_possible

__all__ = ["WORKER_BYTES_PER_CONNECTION", "Capacity", "Limit", "capacity"]

WORKER_BYTES_PER_CONNECTION = 700
"""Memory of a worker for one idle session of a user of its own; see docs/tuning.md."""

WORKER_BYTES = 68 << 20
"""Memory of a worker without connections."""

MEMORY_SHARE = 0.8
"""Of the available memory; the rest is for messages, buffers and the page cache of the log."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound on the number of connections."""

    name: str
    connections: int
    cure: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """All bounds, the tightest first."""

    limits: tuple[Limit, ...]
    bytes_per_connection: float | None
    """Kernel and worker together; None where it was not measured."""

    @property
    def connections(self) -> int:
        return self.limits[0].connections

    @property
    def first(self) -> Limit:
        """What limits first."""
        return self.limits[0]


def capacity(readings: Readings, settings: Settings, loopback: Loopback | None) -> Capacity:
    """Idle sessions over plain TCP or WebSocket; messages need processors besides."""
    workers = settings.worker_count
    per_worker = max(0, connections_possible(settings, readings.open_files))
    limits = [Limit("open files", workers * per_worker, "raise LimitNOFILE=, or --workers")]
    if settings.connections_max is not None:
        name = "connections_max"
        limits.append(Limit(name, workers * settings.connections_max, "raise --connections-max"))
    if readings.system_files is not None and readings.system_files_used is not None:
        free = readings.system_files - readings.system_files_used
        limits.append(Limit("files of the system", max(0, free), "sysctl -w fs.file-max=…"))
    if readings.tracked_max is not None:
        free = readings.tracked_max - (readings.tracked or 0)
        cure = "sysctl -w net.netfilter.nf_conntrack_max=…, or do not track these ports"
        limits.append(Limit("connection tracking", max(0, free), cure))
    each = None
    if loopback is not None:
        each = loopback.bytes_per_end + WORKER_BYTES_PER_CONNECTION
        memory = MEMORY_SHARE * readings.memory_available_bytes - workers * WORKER_BYTES
        limits.append(Limit("memory", max(0, int(memory / each)), "add memory"))
    limits.sort(key=lambda limit: limit.connections)
    return Capacity(tuple(limits), each)
