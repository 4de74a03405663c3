"""How many files another process may still open."""

from __future__ import annotations

import resource
from pathlib import Path

__all__ = ["leave_descriptors", "restore_descriptors"]


def leave_descriptors(pid: int, count: int) -> None:
    """Let a process open that many files more, and no more.

    The limit is one past the highest number, so the holes below it have to be counted as well.
    """
    numbers = {int(link.name) for link in Path(f"/proc/{pid}/fd").iterdir()}
    limit = 0
    while limit - len([one for one in numbers if one < limit]) < count:
        limit += 1
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))


def restore_descriptors(pid: int) -> None:
    """Let a process open as many files as before."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
