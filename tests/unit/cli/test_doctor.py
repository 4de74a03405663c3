"""`imfast doctor` as an operator types it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click.testing
import pytest

import imfast.doctor
import imfast.doctor.disk
from imfast.cli.group import main
from imfast.doctor import Readings
from tests.unit.doctor.test_checks import HEALTHY


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Changes to a healthy machine's readings."""
    changes: dict[str, Any] = {}

    def fake(*_: object, **__: object) -> Readings:
        return replace(HEALTHY, **changes)

    monkeypatch.setattr(imfast.doctor, "take_readings", fake)
    monkeypatch.setattr(imfast.doctor.disk, "measure_sync", lambda _: HEALTHY.sync)
    return changes


def run(tmp_path: Path, *arguments: str) -> click.testing.Result:
    flags = ["doctor", "--data-dir", str(tmp_path), "--workers", "2", "--sockets", "0"]
    return click.testing.CliRunner().invoke(main, [*flags, *arguments], prog_name="imfast")


def test_healthy_machine_exits_with_0(tmp_path: Path, machine: dict[str, Any]):
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "green   disk sync     p50 0.50 ms, p99 2.00 ms (ext4)\n" in result.output
    assert "What bounds it:\n     2,096,112  open files" in result.output


def test_red_finding_exits_with_1_and_names_its_cure(tmp_path: Path, machine: dict[str, Any]):
    machine["somaxconn"] = 64
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "red     somaxconn     64\n" in result.output
    assert "mend: sysctl -w net.core.somaxconn=4096\n" in result.output


def test_yellow_finding_exits_with_0(tmp_path: Path, machine: dict[str, Any]):
    machine["open_files"] = 20_000
    assert run(tmp_path).exit_code == 0


def test_json_has_everything(tmp_path: Path, machine: dict[str, Any]):
    machine["profile"] = "debug"
    result = run(tmp_path, "--json")
    document = json.loads(result.output)
    assert result.exit_code == 1
    [red] = [finding for finding in document["findings"] if finding["level"] == "red"]
    assert (red["name"], red["cure"]) == ("build", "make build")
    assert (document["connections"], document["limited_by"]) == (2_096_112, "open files")
    assert document["loopback"] is None


def test_directory_that_is_not_there_is_not_made(tmp_path: Path):
    result = run(tmp_path / "not/yet")
    assert result.exit_code in (0, 1)
    assert "disk sync" in result.output
    assert list(tmp_path.iterdir()) == []


def test_more_sockets_than_a_host_bears_are_refused(tmp_path: Path):
    assert run(tmp_path, "--sockets", "15001").exit_code == 2
