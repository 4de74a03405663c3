"""A message id: the Cython generator beside the same rule in plain Python."""

from __future__ import annotations

from typing import Any

import pytest

from imfast._core.snowflake import Snowflake

EPOCH_MS = 1_704_067_200_000
NOW_MS = 1_763_899_999_000
IDS = 1_000

pytestmark = pytest.mark.benchmark(group=f"{IDS} message ids")


def test_snowflake(benchmark: Any) -> None:
    make = Snowflake(5).next

    def run() -> None:
        for _ in range(IDS):
            make(NOW_MS)

    benchmark(run)


def test_plain_python(benchmark: Any) -> None:
    last = 0

    def make(time_ms: int) -> int:
        nonlocal last
        fresh = (time_ms - EPOCH_MS) << 22 | 5 << 12
        if fresh > last:
            last = fresh
        elif last & 0xFFF < 0xFFF:
            last += 1
        else:
            last = ((last >> 22) + 1) << 22 | 5 << 12
        return last

    def run() -> None:
        for _ in range(IDS):
            make(NOW_MS)

    benchmark(run)
    ids = Snowflake(5)
    last = 0
    assert [make(NOW_MS) for _ in range(9000)] == [ids.next(NOW_MS) for _ in range(9000)]
