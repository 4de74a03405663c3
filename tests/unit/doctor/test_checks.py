"""Every check's colours, with faked readings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imfast.config.load import load
from imfast.config.schema import Settings
from imfast.doctor import Level, Readings, examine, take_readings
from imfast.doctor.disk import SyncTimes, measure_sync

GIB = 1 << 30

HEALTHY = Readings(
    open_files=1_048_576,
    system_files=10_000_000,
    system_files_used=1_000,
    somaxconn=4096,
    syn_backlog=4096,
    ports=(32_768, 60_999),
    tcp_bytes_max=2 * GIB,
    tracked_max=None,
    tracked=None,
    governors={"performance": 8},
    clock_source="tsc",
    clock_step_s=0.0,
    memory_available_bytes=8 * GIB,
    disk_free_bytes=100 * GIB,
    file_system="ext4",
    sync=SyncTimes(0.0005, 0.002, 0.004, 400),
    profile="release",
)


def settings(**flags: str) -> Settings:
    return load({"data_dir": "/d", "workers": "2", **flags}).settings


def test_healthy_machine_is_all_green():
    findings = examine(HEALTHY, settings())
    assert {finding.level for finding in findings} == {Level.GREEN}
    assert len(findings) == 10
    assert not any(finding.cure for finding in findings)


RED: list[tuple[str, dict[str, Any], str]] = [
    ("build", {"profile": "debug"}, "make build"),
    ("open files", {"open_files": 1024}, "LimitNOFILE=1048576"),
    ("somaxconn", {"somaxconn": 64}, "sysctl -w net.core.somaxconn=4096"),
    ("ports", {"ports": (60_000, 60_500)}, "sysctl -w net.ipv4.ip_local_port_range='1024 65535'"),
    ("TCP memory", {"tcp_bytes_max": 32 << 20}, "sysctl -w net.ipv4.tcp_mem="),
    ("disk sync", {"sync": SyncTimes(0.040, 0.050, 1.0, 9)}, "--durability os"),
    ("disk sync", {"sync": SyncTimes(0.001, 0.300, 1.0, 9)}, "local SSD"),
    ("disk sync", {"file_system": "tmpfs"}, "put --data-dir on a disk"),
    ("disk space", {"disk_free_bytes": 200 << 20}, "--data-dir than /d"),
    ("clock source", {"clock_source": "jiffies"}, "current_clocksource"),
]

YELLOW: list[tuple[str, dict[str, Any], str]] = [
    ("open files", {"open_files": 20_000}, "LimitNOFILE=1048576"),
    ("somaxconn", {"somaxconn": 1024}, "sysctl -w net.core.somaxconn=4096"),
    ("SYN backlog", {"syn_backlog": 512}, "sysctl -w net.ipv4.tcp_max_syn_backlog="),
    ("ports", {"ports": (50_000, 60_000)}, "sysctl -w net.ipv4.ip_local_port_range="),
    ("TCP memory", {"tcp_bytes_max": 256 << 20}, "sysctl -w net.ipv4.tcp_mem="),
    ("CPU governor", {"governors": {"performance": 7, "powersave": 1}}, "cpupower"),
    ("disk sync", {"sync": SyncTimes(0.008, 0.010, 0.02, 400)}, "local SSD"),
    ("disk space", {"disk_free_bytes": 5 * GIB}, "free some"),
    ("clock", {"clock_step_s": -0.5}, "chrony"),
    ("clock source", {"clock_source": "hpet"}, "current_clocksource"),
]


@pytest.mark.parametrize(
    ("level", "name", "change", "cure"),
    [(Level.RED, *case) for case in RED] + [(Level.YELLOW, *case) for case in YELLOW],
)
def test_fault_has_its_colour_and_the_command_that_mends_it(
    level: Level, name: str, change: dict[str, Any], cure: str
):
    findings = examine(replace(HEALTHY, **change), settings())
    [fault] = [finding for finding in findings if finding.level is not Level.GREEN]
    assert (fault.name, fault.level) == (name, level)
    assert cure in fault.cure
    assert fault.why


def test_every_check_that_can_be_red_was_made_red():
    from imfast.doctor import checks

    source = Path(checks.__file__).read_text()
    assert source.count("Level.RED,") == len({(name, *change) for name, change, _ in RED})


def test_memory_is_no_fault_where_an_ack_promises_no_more():
    findings = examine(replace(HEALTHY, file_system="tmpfs"), settings(durability="os"))
    assert {finding.level for finding in findings} == {Level.GREEN}


def test_wanted_queue_follows_the_option():
    findings = examine(HEALTHY, settings(accept_backlog="8192"))
    [fault] = [finding for finding in findings if finding.level is not Level.GREEN]
    assert fault.cure == "sysctl -w net.core.somaxconn=8192"


def test_machine_that_tells_nothing_is_not_blamed():
    silent = replace(
        HEALTHY,
        somaxconn=None,
        syn_backlog=None,
        ports=None,
        tcp_bytes_max=None,
        governors={},
        clock_source=None,
    )
    assert {finding.level for finding in examine(silent, settings())} == {Level.GREEN}


def test_readings_of_this_machine_are_plausible(tmp_path: Path):
    sync = measure_sync(tmp_path, count=5)
    assert 0 < sync.p50_s <= sync.p99_s <= sync.max_s
    assert list(tmp_path.iterdir()) == []
    readings = take_readings(
        tmp_path / "not/made/yet", sync=sync, clock_step_s=0.0, profile="release"
    )
    assert readings.open_files > 0
    assert readings.memory_available_bytes > 1 << 20
    assert readings.disk_free_bytes > 0
    assert readings.file_system


def test_slow_disk_is_not_measured_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(1000))
    monkeypatch.setattr("imfast.doctor.disk.time.monotonic", lambda: float(next(clock)))
    assert measure_sync(tmp_path, count=400, seconds_max=3.0).count < 10
