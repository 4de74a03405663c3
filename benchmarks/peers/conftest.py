"""Only on demand: the peers have to be installed first, and all of them take 25 minutes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.flow.figures import TABLE, Spread
from benchmarks.flow.server import Server
from benchmarks.peers.results import PATH, RESULTS

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def imfast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Server]]:
    """Running servers by their number of workers. Nothing that peers are compared with is stored,
    so that one server serves all pairs and is warm in each."""
    directory = tmp_path_factory.mktemp("imfast")
    with (
        Server(directory / "one", workers=1) as one,
        Server(directory / "two", workers=2) as two,
    ):
        yield {1: one, 2: two}


def pytest_sessionfinish() -> None:
    if RESULTS.measured:
        others = TABLE.cores_of_others
        RESULTS.write(PATH, Spread.of(others).median if others else 0.0)
