"""Verdicts about a batch of 256 requests: the Cython table beside a dictionary in plain Python.

    pytest benchmarks/micro/test_token_bucket.py

One round is one batch; divide by 256 for the time of a request.
"""

from __future__ import annotations

import array
import itertools
import random
from typing import Any

import pytest

from imfast._core.token_bucket import TokenBuckets

BATCH = 256
PER_SECOND, BURST = 1_000, 2_000
MS_NS = 1_000_000

pytestmark = pytest.mark.benchmark(group=f"{BATCH} verdicts")


def batches(keys: int) -> list[array.array[int]]:
    fate = random.Random(keys)
    return [array.array("Q", [fate.randrange(keys) for _ in range(BATCH)]) for _ in range(256)]


@pytest.mark.parametrize("keys", [1_000, 500_000])
def test_token_buckets(benchmark: Any, keys: int) -> None:
    buckets = TokenBuckets(1 << 20, PER_SECOND, BURST)
    waits = array.array("I", bytes(4 * BATCH))
    ready = itertools.cycle(batches(keys))
    times = itertools.count(0, MS_NS)
    benchmark(lambda: buckets.take_batch(next(ready), waits, next(times)))


@pytest.mark.parametrize("keys", [1_000])
def test_one_call_a_request(benchmark: Any, keys: int) -> None:
    buckets = TokenBuckets(1 << 20, PER_SECOND, BURST)
    ready = itertools.cycle(batches(keys))
    times = itertools.count(0, MS_NS)

    def step() -> None:
        now_ns = next(times)
        for key in next(ready):
            buckets.take(key, now_ns)

    benchmark(step)


@pytest.mark.parametrize("keys", [1_000, 500_000])
def test_plain_python(benchmark: Any, keys: int) -> None:
    interval_ns = 1_000_000_000 // PER_SECOND
    depth_ns = interval_ns * BURST
    full_at: dict[int, int] = {}
    waits = array.array("I", bytes(4 * BATCH))
    ready = itertools.cycle(batches(keys))
    times = itertools.count(0, MS_NS)

    def step() -> None:
        now_ns = next(times)
        for i, key in enumerate(next(ready)):
            after = max(full_at.get(key, 0), now_ns) + interval_ns
            if after - now_ns <= depth_ns:
                full_at[key] = after
                waits[i] = 0
            else:
                waits[i] = -(-(after - now_ns - depth_ns) // MS_NS)

    benchmark(step)
