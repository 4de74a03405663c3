"""What a process takes of memory and processors, from proc(5)."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["usage"]

_PAGE_BYTES = os.sysconf("SC_PAGESIZE")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def usage(pid: int) -> dict[str, float]:
    """Resident bytes and seconds of processor time; empty where the process is gone."""
    directory = Path("/proc", str(pid))
    try:
        pages = int((directory / "statm").read_text().split()[1])
        # The name, in brackets, may contain anything.
        fields = (directory / "stat").read_text().rpartition(")")[2].split()
    except (OSError, IndexError):
        return {}
    ticks = int(fields[11]) + int(fields[12])
    return {"resident_bytes": pages * _PAGE_BYTES, "cpu_s": ticks / _TICKS_PER_SECOND}
