"""Judges readings: green, yellow or red, why, and the command that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from imfast.config.option import value_text
from imfast.config.schema import Settings
from imfast.doctor.readings import Readings

__all__ = ["Finding", "Level", "examine"]

MIB, GIB = 1 << 20, 1 << 30


class Level(StrEnum):
    """How bad it is."""

    GREEN = "green"
    YELLOW = "yellow"
    """It works, and costs speed or capacity."""
    RED = "red"
    """A promise does not hold, or few clients can be served."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome."""

    name: str
    level: Level
    value: str
    """What was found, with its unit."""
    why: str = ""
    """What follows from it; empty when green."""
    cure: str = ""
    """The command or option that mends it."""


def examine(readings: Readings, settings: Settings) -> list[Finding]:
    """Every check, in the order in which a report shows them."""
    return [finding for check in _CHECKS for finding in check(readings, settings)]


def _build(readings: Readings, _settings: Settings) -> Iterator[Finding]:
    if readings.profile == "release":
        yield Finding("build", Level.GREEN, readings.profile)
    else:
        why = "several times slower, and no figure of it means anything"
        yield Finding("build", Level.RED, readings.profile, why, "make build")


def _open_files(readings: Readings, settings: Settings) -> Iterator[Finding]:
    limit = readings.open_files
    value = f"{limit} a process, {settings.worker_count} workers"
    cure = "ulimit -Hn 1048576 (as root), or LimitNOFILE=1048576 in the service's unit"
    if limit < 2048:
        yield Finding(
            "open files", Level.RED, value, "a worker can hold hardly any connection", cure
        )
    elif limit < 65_536:
        why = "bounds the connections of a worker; more workers help too"
        yield Finding("open files", Level.YELLOW, value, why, cure)
    else:
        yield Finding("open files", Level.GREEN, value)


def _somaxconn(readings: Readings, settings: Settings) -> Iterator[Finding]:
    if (found := readings.somaxconn) is None:
        return
    wanted = settings.accept_backlog
    cure = f"sysctl -w net.core.somaxconn={wanted}"
    if found < 128:
        why = "a burst of new connections is dropped, and clients wait seconds for a retry"
        yield Finding("somaxconn", Level.RED, str(found), why, cure)
    elif found < wanted:
        why = f"accept_backlog ({wanted}) is cut to this: mass reconnects are slower"
        yield Finding("somaxconn", Level.YELLOW, str(found), why, cure)
    else:
        yield Finding("somaxconn", Level.GREEN, str(found))


def _syn_backlog(readings: Readings, _settings: Settings) -> Iterator[Finding]:
    if (found := readings.syn_backlog) is None:
        return
    if found < 1024:
        why = "half-open connections of a mass reconnect are dropped"
        cure = "sysctl -w net.ipv4.tcp_max_syn_backlog=8192"
        yield Finding("SYN backlog", Level.YELLOW, str(found), why, cure)
    else:
        yield Finding("SYN backlog", Level.GREEN, str(found))


def _ports(readings: Readings, _settings: Settings) -> Iterator[Finding]:
    if readings.ports is None:
        return
    first, last = readings.ports
    count = last - first + 1
    value = f"{count} ({first} to {last})"
    cure = "sysctl -w net.ipv4.ip_local_port_range='1024 65535'"
    if count < 1024:
        why = "a proxy or a load generator here can open hardly any connection"
        yield Finding("ports", Level.RED, value, why, cure)
    elif count < 20_000:
        why = "bounds what a proxy or a load generator here opens from one address"
        yield Finding("ports", Level.YELLOW, value, why, cure)
    else:
        yield Finding("ports", Level.GREEN, value)


def _tcp_memory(readings: Readings, _settings: Settings) -> Iterator[Finding]:
    if (found := readings.tcp_bytes_max) is None:
        return
    value = value_text(found // MIB * MIB, "bytes")
    cure = "sysctl -w net.ipv4.tcp_mem='<low> <pressure> <max>' (pages; a quarter of the memory)"
    if found < 64 * MIB:
        why = "the kernel drops segments of all connections when their buffers reach it"
        yield Finding("TCP memory", Level.RED, value, why, cure)
    elif found < 512 * MIB:
        why = "reached when thousands of slow clients have full buffers"
        yield Finding("TCP memory", Level.YELLOW, value, why, cure)
    else:
        yield Finding("TCP memory", Level.GREEN, value)


def _governor(readings: Readings, _settings: Settings) -> Iterator[Finding]:
    slow = readings.governors.get("powersave", 0)
    if not readings.governors:
        yield Finding("CPU governor", Level.GREEN, "none (set by the host, or fixed)")
        return
    value = ", ".join(f"{name} on {count}" for name, count in sorted(readings.governors.items()))
    if slow:
        why = "processors start slow after every pause: latency at low load doubles"
        cure = "cpupower frequency-set -g performance"
        yield Finding("CPU governor", Level.YELLOW, value, why, cure)
    else:
        yield Finding("CPU governor", Level.GREEN, value)


def _sync(readings: Readings, settings: Settings) -> Iterator[Finding]:
    sync, kind = readings.sync, readings.file_system or "unknown file system"
    value = f"p50 {sync.p50_s * 1e3:.2f} ms, p99 {sync.p99_s * 1e3:.2f} ms ({kind})"
    cure = "put --data-dir on a local SSD; --durability os where a power cut may cost seconds"
    if settings.durability == "fsync" and readings.file_system in {"tmpfs", "ramfs"}:
        why = "this is memory: nothing survives a reboot"
        yield Finding("disk sync", Level.RED, value, why, "put --data-dir on a disk")
    elif sync.p50_s > 0.030 or sync.p99_s > 0.200:
        why = "every send waits for this, and deliveries with it"
        yield Finding("disk sync", Level.RED, value, why, cure)
    elif sync.p50_s > 0.005 or sync.p99_s > 0.050:
        why = "the least that a durable send takes"
        yield Finding("disk sync", Level.YELLOW, value, why, cure)
    else:
        yield Finding("disk sync", Level.GREEN, value)


def _disk_space(readings: Readings, settings: Settings) -> Iterator[Finding]:
    free = readings.disk_free_bytes
    value = f"{free / GIB:.1f} GiB free"
    cure = f"free some, or choose another --data-dir than {settings.data_dir}"
    if free < 4 * settings.segment_bytes:
        yield Finding("disk space", Level.RED, value, "sends fail when it is used up", cure)
    elif free < 10 * GIB:
        yield Finding("disk space", Level.YELLOW, value, "the log only grows", cure)
    else:
        yield Finding("disk space", Level.GREEN, value)


def _clock(readings: Readings, _settings: Settings) -> Iterator[Finding]:
    step, source = readings.clock_step_s, readings.clock_source
    if abs(step) > 0.010:
        why = "times that people read jump; tokens may be refused"
        cure = "let chrony or systemd-timesyncd slew the clock, and only one of them"
        yield Finding("clock", Level.YELLOW, f"stepped {step * 1e3:+.0f} ms just now", why, cure)
    if source is None:
        return
    path = "/sys/devices/system/clocksource/clocksource0"
    cure = f"cat {path}/available_clocksource; echo tsc > {path}/current_clocksource"
    if source in {"jiffies", "refined-jiffies"}:
        why = "ticks of milliseconds: time-outs and batches are coarse"
        yield Finding("clock source", Level.RED, source, why, cure)
    elif source in {"acpi_pm", "hpet"}:
        why = "reading the time is a slow call, several a tick"
        yield Finding("clock source", Level.YELLOW, source, why, cure)
    else:
        yield Finding("clock source", Level.GREEN, source)


_CHECKS: tuple[Callable[[Readings, Settings], Iterator[Finding]], ...] = (
    _build,
    _open_files,
    _somaxconn,
    _syn_backlog,
    _ports,
    _tcp_memory,
    _governor,
    _sync,
    _disk_space,
    _clock,
)
