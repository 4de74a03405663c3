"""Whether the server can do what its clients ask: what a balancer looks at."""

from __future__ import annotations

import os
import time
from pathlib import Path

from imfast.supervisor.supervisor import Supervisor

__all__ = ["reasons_against"]

FREE_BYTES_MIN = 64 << 20
"""With less on the disk of the data directory, sends will soon be refused;"""
FREE_PART = 20
"""or with less than this part of a disk that is small."""

CLOCK_MIN_S = 1_704_067_200
"""2024-01-01: message ids count from here, so a clock before it is not set."""


def reasons_against(supervisor: Supervisor, data_directory: Path) -> list[str]:
    """Why no client should be sent here; none: the server is ready."""
    if supervisor.is_stopping:
        return ["stopping"]
    reasons = []
    if waiting := [slot.server for slot in supervisor.slots if not slot.is_served]:
        reasons.append("waiting for " + ", ".join(waiting))
    for slot in supervisor.slots:
        # As far as the worker has told; one that was never asked has just said that it is ready.
        counters = slot.report.get("counters", {})
        closed = len(slot.partitions) - counters.get("partitions", len(slot.partitions))
        if slot.state == "ready" and closed > 0:
            reasons.append(f"{slot.server}: {closed} of its partitions closed")
    try:
        disk = os.statvfs(data_directory)
        free = disk.f_bavail * disk.f_frsize
        needed = min(FREE_BYTES_MIN, disk.f_blocks * disk.f_frsize // FREE_PART)
        if free < needed:
            reasons.append(f"disk: {free >> 20} MiB free of the {needed >> 20} needed")
    except OSError as error:
        reasons.append(f"disk: {error.strerror}")
    if time.time() < CLOCK_MIN_S:
        reasons.append("clock: before 2024")
    return reasons
