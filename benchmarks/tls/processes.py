"""Processor time and memory of a process, from proc(5)."""

from __future__ import annotations

from pathlib import Path

__all__ = ["cpu_s", "pss_bytes"]


def cpu_s(pid: int) -> float:
    """Seconds that all of its threads have run."""
    threads = Path("/proc", str(pid), "task").iterdir()
    return sum(int((one / "schedstat").read_text().split()[0]) for one in threads) / 1e9


def pss_bytes(pid: int) -> int:
    """Its part of the memory that it maps."""
    for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "Pss":
            return int(value.split()[0]) * 1024
    raise AssertionError("no Pss")
