"""Why a balancer should send nobody here."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from imfast.supervisor import readiness
from imfast.supervisor.readiness import FREE_BYTES_MIN, reasons_against
from imfast.supervisor.slot import Slot


def supervisor(
    *, state: Literal["ready", "waiting"] = "ready", stopping: bool = False, partitions: int = 2
) -> Any:
    slot = Slot(index=0, server="n1.w0", partitions=(0, 2), state=state)
    slot.reported({"counters": {"partitions": partitions}})
    return SimpleNamespace(slots=[slot], is_stopping=stopping)


def test_server_that_serves_has_no_reason_against_it(tmp_path: Path) -> None:
    assert reasons_against(supervisor(), tmp_path) == []


def test_each_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reasons_against(supervisor(stopping=True), tmp_path) == ["stopping"]
    assert reasons_against(supervisor(state="waiting"), tmp_path) == ["waiting for n1.w0"]
    closed = reasons_against(supervisor(partitions=1), tmp_path)
    assert closed == ["n1.w0: 1 of its partitions closed"]
    [gone] = reasons_against(supervisor(), tmp_path / "nothing")
    assert gone.startswith("disk: ")

    blocks = FREE_BYTES_MIN // 4096
    full = SimpleNamespace(f_bavail=blocks - 1, f_blocks=100 * blocks, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    monkeypatch.setattr(readiness.time, "time", lambda: 0.0)
    disk, clock = reasons_against(supervisor(), tmp_path)
    assert disk == "disk: 63 MiB free of the 64 needed"
    assert clock == "clock: before 2024"

    small = SimpleNamespace(f_bavail=blocks // 10, f_blocks=blocks, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: small)
    assert reasons_against(supervisor(), tmp_path) == [clock]
