"""How many connections are claimed, and what opening them takes."""

from __future__ import annotations

import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from imfast.config.load import load
from imfast.config.schema import Settings
from imfast.doctor import loopback
from imfast.doctor.capacity import (
    MEMORY_SHARE,
    WORKER_BYTES,
    WORKER_BYTES_PER_CONNECTION,
    capacity,
)
from imfast.doctor.loopback import Loopback, open_loopback
from imfast.supervisor.open_files import resolve_connections
from tests.unit.doctor.test_checks import GIB, HEALTHY

COST = Loopback(connections=5000, bytes_per_end=4000.0, deviation=0.02)


def settings(**flags: str) -> Settings:
    return load({"data_dir": "/d", "workers": "2", **flags}).settings


def test_few_files_limit_first_and_the_server_agrees():
    readings = replace(HEALTHY, open_files=20_000)
    held = capacity(readings, settings(), COST)
    assert held.first.name == "open files"
    assert held.connections == 2 * resolve_connections(settings(), 20_000) == 38_960


def test_little_memory_limits_first():
    readings = replace(HEALTHY, memory_available_bytes=GIB)
    held = capacity(readings, settings(), COST)
    assert held.first.name == "memory"
    each = 4000 + WORKER_BYTES_PER_CONNECTION
    assert held.bytes_per_connection == each
    assert held.connections == int((MEMORY_SHARE * GIB - 2 * WORKER_BYTES) / each)


@pytest.mark.parametrize(
    ("change", "name", "connections"),
    [
        ({"system_files": 5_000, "system_files_used": 1_000}, "files of the system", 4_000),
        ({"tracked_max": 5_000, "tracked": 500}, "connection tracking", 4_500),
    ],
)
def test_limit_of_the_whole_machine_is_first(change: dict[str, int], name: str, connections: int):
    held = capacity(replace(HEALTHY, **change), settings(), COST)
    assert (held.first.name, held.connections) == (name, connections)


def test_option_limits_first():
    held = capacity(HEALTHY, settings(connections_max="2000"), COST)
    assert (held.first.name, held.connections) == ("connections_max", 4_000)


def test_limits_without_a_measurement_leave_memory_out():
    held = capacity(HEALTHY, settings(), None)
    assert "memory" not in {limit.name for limit in held.limits}
    assert held.bytes_per_connection is None


def test_opening_finds_what_the_kernel_takes_and_leaves_nothing_behind():
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the listing's own entry is last
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = open_loopback(2_000, 8 * GIB)
    assert found is not None
    assert found.connections == 1_000
    # Other work on the machine moves the kernel's memory too; the order of magnitude holds.
    assert 500 < found.bytes_per_end < 50_000
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits


def test_foretelling_is_compared_with_what_came(monkeypatch: pytest.MonkeyPatch):
    # Ten steps of 100 pairs: 8 KiB a pair in the first half, 10 KiB in the second.
    slab = [0]
    for number in range(10):
        slab.append(slab[-1] + 100 * (8192 if number < 5 else 10_240))
    samples = iter(slab)
    monkeypatch.setattr(loopback, "_slab_bytes", lambda: next(samples))
    found = open_loopback(2_000, 8 * GIB)
    assert found is not None
    assert found.deviation == pytest.approx(0.2)
    assert found.bytes_per_end == pytest.approx((8192 + 10_240) / 4)


@pytest.mark.parametrize(
    ("sockets", "memory", "expected"),
    [
        (15_000, 8 * GIB, 7_500),
        (99_999, 8 * GIB, 7_500),
        (15_000, 640 << 20, 1_024),
        (400, 8 * GIB, 200),
    ],
)
def test_machine_is_never_exhausted(
    monkeypatch: pytest.MonkeyPatch, sockets: int, memory: int, expected: int
):
    from contextlib import ExitStack

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 20_000))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    with ExitStack() as stack:
        assert loopback._affordable(min(sockets, 15_000), memory, stack) == expected


def test_few_files_open_few_sockets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (300, 300))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert open_loopback(15_000, 8 * GIB) is None


def test_system_that_is_short_of_files_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "read_text", lambda _: "9900\t0\t10000\n")
    assert open_loopback(15_000, 8 * GIB) is None
