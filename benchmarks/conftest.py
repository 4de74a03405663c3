"""What benchmarks share: the limits, how many rounds, and the table with its file at the end."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator

import pytest

from benchmarks.flow.figures import TABLE, Spread
from benchmarks.results import LATEST, Results
from imfast._engine import build_info
from imfast.bench.limit_programs import LimitPrograms

CORE_ROUNDS, FULL_ROUNDS = 3, 7


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="all benchmarks, and more rounds of each")
    parser.addoption("--peers", action="store_true", help="measure other servers too: 25 minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: takes long; --full, or its name, selects it")
    config.addinivalue_line("markers", "peers: compares with other servers; --peers selects it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Debug builds are not measured, and what takes long on demand only."""
    info = build_info()
    if info["profile"] != "release":
        raise pytest.UsageError(f"this is a {info['profile']} build; benchmarks need a release one")
    left_out = set()
    if not config.getoption("--peers"):
        left_out.add("peers")
    if not config.getoption("--full") and not config.getoption("-k"):
        left_out.add("full")
    deselected = [item for item in items if left_out & {one.name for one in item.iter_markers()}]
    items[:] = [item for item in items if item not in deselected]
    config.hook.pytest_deselected(items=deselected)


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How often a figure and its limit take turns."""
    return FULL_ROUNDS if request.config.getoption("--full") else CORE_ROUNDS


@pytest.fixture(scope="session")
def limits(tmp_path_factory: pytest.TempPathFactory) -> LimitPrograms:
    """The limits."""
    return LimitPrograms(tmp_path_factory.mktemp("limits"))


@pytest.fixture(autouse=True)
def _recorded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Writes what a benchmark measured as soon as it ends: a run that is cut short is no loss."""
    rows, others = len(TABLE.rows), len(TABLE.cores_of_others)
    yield
    if measured := TABLE.rows[rows:]:
        results = Results.read(LATEST)
        results.add(request.node, measured, TABLE.cores_of_others[others:], TABLE.curves)
        results.write(LATEST)


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
    terminalreporter.write_line(f"written to {LATEST}; `python -m benchmarks.record` renders it")
