"""1,000 values recorded and a quantile read: the Cython histogram beside a sorted list.

pytest benchmarks/micro/test_histogram.py
"""

from __future__ import annotations

import array
import math
import random
from collections import Counter
from typing import Any

import pytest

from imfast._core.histogram import Histogram

fate = random.Random(1)
VALUES = array.array("Q", [int(fate.lognormvariate(11, 2)) for _ in range(1_000)])

recording = pytest.mark.benchmark(group="1,000 values recorded")
reading = pytest.mark.benchmark(group="p99 of 1,000,000 values")


@recording
def test_record_an_array(benchmark: Any) -> None:
    benchmark(Histogram().record_all, VALUES)


@recording
def test_record_one_by_one(benchmark: Any) -> None:
    record = Histogram().record

    def step() -> None:
        for value in VALUES:
            record(value)

    benchmark(step)


@recording
def test_plain_python_counter(benchmark: Any) -> None:
    counts: Counter[int] = Counter()

    def step() -> None:
        for value in VALUES:
            shift = max(value.bit_length() - 8, 0)
            counts[(shift << 7) + (value >> shift)] += 1

    benchmark(step)


@reading
def test_quantile(benchmark: Any) -> None:
    histogram = Histogram()
    for value in VALUES:
        histogram.record(value, 1_000)
    assert histogram.quantile(0.99) >= sorted(VALUES)[math.ceil(0.99 * len(VALUES)) - 1]
    benchmark(histogram.quantile, 0.99)


@reading
def test_plain_python_sort(benchmark: Any) -> None:
    values = list(VALUES) * 1_000
    benchmark.pedantic(lambda: sorted(values)[int(0.99 * len(values))], rounds=3)
