"""What the machine says about itself. Only read here; judged in `checks` and `capacity`."""

from __future__ import annotations

import os
import resource
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from imfast.doctor.disk import SyncTimes

__all__ = ["Readings", "take_readings"]

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Readings:
    """Facts about a machine. None: it does not tell, which is no fault by itself."""

    open_files: int
    """Files that one process may open (the hard limit, which workers are raised to)."""
    system_files: int | None
    """Files that all processes may open."""
    system_files_used: int | None
    somaxconn: int | None
    """Longest queue of connections that wait to be accepted."""
    syn_backlog: int | None
    ports: tuple[int, int] | None
    """First and last port of outgoing connections."""
    tcp_bytes_max: int | None
    """What all TCP buffers together may take."""
    tracked_max: int | None
    """Connections that the firewall follows at most; None where it follows none."""
    tracked: int | None
    governors: dict[str, int]
    """Frequency governor → processors; empty on most virtual machines."""
    clock_source: str | None
    clock_step_s: float
    """How far the wall clock moved against the monotonic one during the examination."""
    memory_available_bytes: int
    """What can be had without swapping, within the control group's limit."""
    disk_free_bytes: int
    file_system: str
    """Type of the data directory's file system; empty when unknown."""
    sync: SyncTimes
    profile: str
    """`release` or `debug`."""


def take_readings(
    data_dir: Path, *, sync: SyncTimes, clock_step_s: float, profile: str
) -> Readings:
    """Reads what the machine tells. `data_dir` exists, or a parent of it does."""
    existing = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    files = _numbers("/proc/sys/fs/file-nr")
    ports = _numbers("/proc/sys/net/ipv4/ip_local_port_range")
    tcp_pages = _numbers("/proc/sys/net/ipv4/tcp_mem")
    disk = os.statvfs(existing)
    return Readings(
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        system_files=files[2] if files else None,
        system_files_used=files[0] if files else None,
        somaxconn=_number("/proc/sys/net/core/somaxconn"),
        syn_backlog=_number("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
        ports=(ports[0], ports[1]) if ports else None,
        tcp_bytes_max=tcp_pages[2] * resource.getpagesize() if tcp_pages else None,
        tracked_max=_number("/proc/sys/net/netfilter/nf_conntrack_max"),
        tracked=_number("/proc/sys/net/netfilter/nf_conntrack_count"),
        governors=_governors(),
        clock_source=_text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        clock_step_s=clock_step_s,
        memory_available_bytes=_memory_available(),
        disk_free_bytes=disk.f_bavail * disk.f_frsize,
        file_system=_file_system(existing),
        sync=sync,
        profile=profile,
    )


def _text(path: str | Path) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _numbers(path: str) -> list[int]:
    text = _text(path)
    return [int(word) for word in text.split()] if text else []


def _number(path: str) -> int | None:
    numbers = _numbers(path)
    return numbers[0] if numbers else None


def _governors() -> dict[str, int]:
    cpus = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return dict(Counter(governor for cpu in cpus if (governor := _text(cpu))))


def _memory_available() -> int:
    """MemAvailable, or less where a control group allows less."""
    text = _text("/proc/meminfo") or ""
    fields = dict(line.split(":") for line in text.splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    limit, used = _text(_CGROUP / "memory.max"), _text(_CGROUP / "memory.current")
    if limit and used and limit != "max":
        available = min(available, max(0, int(limit) - int(used)))
    return available


def _file_system(path: Path) -> str:
    """The type of the mount that holds `path`: the longest mount point above it."""
    found, length = "", -1
    for line in (_text("/proc/self/mounts") or "").splitlines():
        _, point, kind, *_ = line.split()
        point = point.replace("\\040", " ")
        if path.resolve().is_relative_to(point) and len(point) > length:
            found, length = kind, len(point)
    return found
