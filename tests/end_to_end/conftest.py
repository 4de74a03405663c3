"""Real servers for tests, and their logs where a test fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.server import Server

LOG_CHARACTERS = 8_000


@pytest.fixture(autouse=True)
def _forget_own_servers() -> Iterator[None]:
    """After a test only the servers that it shares with others are left in the list."""
    shared = len(Server.started)
    yield
    del Server.started[shared:]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the servers logged below the failure of their test."""
    report = yield
    if report.failed:
        for server in Server.started:
            if server.log.exists():
                text = server.log.read_text(errors="replace")[-LOG_CHARACTERS:]
                report.sections.append((f"log of {server.directory.name}", text))
    return report


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """One server with two workers for a file's tests that break nothing.

    They share its data: each uses users of its own.
    """
    async with Server(tmp_path_factory.mktemp("shared")) as server:
        yield server


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a test's own server lives."""
    return tmp_path / "server"
