"""The histogram beside the list of all values."""

from __future__ import annotations

import array
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imfast._core.histogram import Histogram

HIGHEST_BITS = 40
values = st.one_of(
    st.integers(0, 300),
    st.integers(0, 2**HIGHEST_BITS - 1),
    st.integers(0, HIGHEST_BITS - 1).map(lambda bits: 1 << bits),
    st.integers(1, HIGHEST_BITS).map(lambda bits: (1 << bits) - 1),
)
lists = st.lists(values, min_size=1, max_size=200)
precisions = st.integers(1, 10)
fractions = st.one_of(st.sampled_from([0.0, 0.5, 0.99, 1.0]), st.floats(0.0, 1.0))


def filled(recorded: list[int], precision: int = 7) -> Histogram:
    histogram = Histogram(precision, HIGHEST_BITS)
    for value in recorded:
        histogram.record(value)
    return histogram


def exact(recorded: list[int], q: float) -> int:
    """The smallest value that at least the fraction `q` of all does not exceed."""
    rank = min(max(math.ceil(q * len(recorded)), 1), len(recorded))
    return sorted(recorded)[rank - 1]


@given(lists, precisions, fractions)
def test_quantile_is_above_the_exact_one_by_a_bounded_part(
    recorded: list[int], precision: int, q: float
) -> None:
    truth, told = exact(recorded, q), filled(recorded, precision).quantile(q)
    assert truth <= told <= truth + truth / 2**precision
    assert told <= max(recorded)
    if truth < 2 ** (precision + 1):
        assert told == truth


@given(lists)
def test_sums_are_exact(recorded: list[int]) -> None:
    histogram = filled(recorded)
    assert (histogram.count, histogram.total) == (len(recorded), sum(recorded))
    assert (histogram.smallest, histogram.largest) == (min(recorded), max(recorded))


@given(lists, lists, fractions)
def test_merging_is_recording_both(first: list[int], second: list[int], q: float) -> None:
    merged = filled(first)
    merged.merge(filled(second))
    both = filled(first + second)
    assert merged.quantile(q) == both.quantile(q)
    assert (merged.count, merged.total) == (both.count, both.total)
    assert (merged.smallest, merged.largest) == (both.smallest, both.largest)


@given(lists, st.integers(1, 5))
def test_recording_an_array_or_several_at_once_is_recording_one_by_one(
    recorded: list[int], times: int
) -> None:
    one_by_one = filled(recorded * times)
    by_array = Histogram(7, HIGHEST_BITS)
    by_array.record_all(array.array("Q", recorded * times))
    counted = Histogram(7, HIGHEST_BITS)
    for value in recorded:
        counted.record(value, times)
    counted.record(5, 0)
    for other in (by_array, counted):
        assert other.count == one_by_one.count
        assert other.total == one_by_one.total
        assert other.quantile(0.5) == one_by_one.quantile(0.5)


@given(lists)
def test_histogram_in_given_memory_goes_on_where_it_was_left(recorded: list[int]) -> None:
    memory = bytearray(Histogram.bytes_needed(5, HIGHEST_BITS))
    writer = Histogram(5, HIGHEST_BITS, memory)
    for value in recorded:
        writer.record(value)
    reader = Histogram(5, HIGHEST_BITS, memory)
    assert (reader.count, reader.quantile(0.9)) == (len(recorded), writer.quantile(0.9))
    writer.record(1)
    assert reader.count == len(recorded) + 1, "one memory, not a copy"
    with pytest.raises(ValueError, match="another form"):
        Histogram(5, HIGHEST_BITS - 1, bytearray(memory[: Histogram.bytes_needed(5, 39)]))


def test_nothing_recorded_has_zeros() -> None:
    histogram = Histogram()
    told = (histogram.count, histogram.smallest, histogram.largest, histogram.quantile(0.5))
    assert told == (0, 0, 0, 0)
    histogram.record(9)
    histogram.reset()
    told = (histogram.count, histogram.smallest, histogram.largest, histogram.quantile(0.5))
    assert told == (0, 0, 0, 0)


def test_value_above_the_highest_counts_as_the_highest() -> None:
    histogram = Histogram(7, 10)
    histogram.record(1 << 40)
    assert (histogram.largest, histogram.quantile(1.0)) == (1023, 1023)


def test_all_64_bits_can_be_had() -> None:
    histogram = Histogram(7, 64)
    histogram.record(2**64 - 1)
    histogram.record(0)
    assert (histogram.quantile(1.0), histogram.quantile(0.0)) == (2**64 - 1, 0)
    assert histogram.memory_bytes == Histogram.bytes_needed(7, 64) < 60_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 40), "precision 0"),
        ((15, 40), "precision 15"),
        ((7, 7), "highest_bits 7"),
        ((7, 65), "highest_bits 65"),
        ((7, 40, bytearray(8)), "8 bytes; "),
        ((7, 40, memoryview(bytearray(Histogram.bytes_needed() + 1))[1:]), "aligned"),
    ],
)
def test_settings_out_of_range_are_refused(
    arguments: tuple[int, int, bytearray], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Histogram(*arguments)


def test_histogram_of_another_form_and_crooked_arrays_are_refused() -> None:
    histogram = Histogram()
    with pytest.raises(ValueError, match="another form"):
        histogram.merge(Histogram(6))
    with pytest.raises(ValueError, match="no array"):
        histogram.record_all(bytes(9))
    with pytest.raises(ValueError, match="quantile"):
        histogram.quantile(1.01)
    assert histogram.count == 0
