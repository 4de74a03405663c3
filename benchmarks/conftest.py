"""What benchmarks share: the native programs, built once, and the table at the end."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from benchmarks.flow.figures import TABLE, Spread
from benchmarks.flow.programs import Limits, build_generator
from imfast._engine import build_info


@pytest.fixture(scope="session")
def generator() -> Path:
    """The load generator."""
    return build_generator()


@pytest.fixture(scope="session")
def limits(tmp_path_factory: pytest.TempPathFactory) -> Limits:
    """The limits."""
    return Limits(tmp_path_factory.mktemp("limits"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peers", action="store_true", help="measure other servers too: 25 minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "peers: compares with other servers; --peers selects it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Debug builds are not measured, and peers on demand only."""
    info = build_info()
    if info["profile"] != "release":
        raise pytest.UsageError(f"this is a {info['profile']} build; benchmarks need a release one")
    if not config.getoption("--peers"):
        peers = [item for item in items if item.get_closest_marker("peers")]
        items[:] = [item for item in items if item not in peers]
        config.hook.pytest_deselected(items=peers)


def pytest_report_header() -> str:
    load = os.getloadavg()[0]
    return f"machine: {os.cpu_count()} cores, Linux {platform.release()}, load before: {load:.1f}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not TABLE.rows:
        return
    terminalreporter.section("figures: median (min-max)")
    for line in TABLE.lines():
        terminalreporter.write_line(line)
    if TABLE.cores_of_others:
        others = Spread.of(TABLE.cores_of_others)
        terminalreporter.write_line(f"cores that others used meanwhile: {others}")
