"""How long the disk takes to make a small write durable: what every commit waits for."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SyncTimes", "measure_sync"]

WRITE_BYTES = 4096
"""A commit of some ten messages."""


@dataclass(frozen=True, slots=True)
class SyncTimes:
    """Write and fdatasync of one small batch, in seconds."""

    p50_s: float
    p99_s: float
    max_s: float
    count: int


def measure_sync(
    directory: Path, *, count: int = 400, seconds_max: float = 3.0, write_bytes: int = WRITE_BYTES
) -> SyncTimes:
    """Appends to a file of its own in `directory`, the way a log does, and removes it again.

    Ends after `count` writes or `seconds_max`, whichever comes first.

    Raises:
        OSError: the directory cannot be written to.
    """
    times: list[float] = []
    data = b"\x55" * write_bytes
    with tempfile.TemporaryFile(dir=directory) as file:
        descriptor = file.fileno()
        end = time.monotonic() + seconds_max
        while len(times) < count and (len(times) < 2 or time.monotonic() < end):
            started = time.perf_counter()
            os.write(descriptor, data)
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - started)
    times.sort()
    return SyncTimes(
        p50_s=times[len(times) // 2],
        p99_s=times[min(len(times) - 1, len(times) * 99 // 100)],
        max_s=times[-1],
        count=len(times),
    )
