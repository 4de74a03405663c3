"""Token buckets beside a plain model, and what a table that is too small may do."""

from __future__ import annotations

import array
import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imfast._core.token_bucket import TokenBuckets

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
VECTORS = Path(__file__).parents[2] / "spec/vectors/token_buckets.json"

rates = st.one_of(st.integers(1, 20), st.integers(1, NS_PER_S))
bursts = st.one_of(st.integers(1, 20), st.integers(1, 2**32 - 1))
# (key, cost, time since the request before)
requests = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1)),
        st.one_of(st.just(0), st.integers(0, NS_PER_S), st.integers(0, 2**50)),
    ),
    max_size=60,
)


class PlainBuckets:
    """A number of tokens for each key, as a rate limiter is explained: exact, without bounds."""

    def __init__(self, per_second: int, burst: int) -> None:
        # A token takes whole nanoseconds.
        self.interval_ns = (NS_PER_S + per_second // 2) // per_second
        self.burst = burst
        self.tokens: dict[int, Fraction] = {}
        self.since_ns: dict[int, int] = {}

    def take(self, key: int, now_ns: int, cost: int) -> int:
        cost = min(cost, self.burst)
        passed_ns = now_ns - self.since_ns.get(key, now_ns)
        tokens = self.tokens.get(key, Fraction(self.burst)) + Fraction(passed_ns, self.interval_ns)
        tokens = min(tokens, Fraction(self.burst))
        self.since_ns[key] = now_ns
        self.tokens[key] = tokens - cost if tokens >= cost else tokens
        if tokens >= cost:
            return 0
        missing_ns = (cost - tokens) * self.interval_ns
        return min(-(-missing_ns.numerator // (missing_ns.denominator * NS_PER_MS)), 2**32 - 1)


@given(rates, bursts, requests)
def test_verdicts_are_those_of_the_plain_model(
    per_second: int, burst: int, asked: list[tuple[int, int, int]]
) -> None:
    ours = TokenBuckets(1 << 16, per_second, burst)
    plain = PlainBuckets(per_second, burst)
    now_ns = 0
    for key, cost, later_ns in asked:
        now_ns += later_ns
        assert ours.take(key, now_ns, cost) == plain.take(key, now_ns, cost)
    assert ours.evictions == 0


@given(rates, bursts, requests)
def test_batch_answers_like_one_request_after_another(
    per_second: int, burst: int, asked: list[tuple[int, int, int]]
) -> None:
    one_by_one, batched = (TokenBuckets(1 << 16, per_second, burst) for _ in range(2))
    keys = array.array("Q", [key for key, _, _ in asked])
    costs = array.array("I", [cost for _, cost, _ in asked])
    for now_ns in (0, NS_PER_S):
        waits = array.array("I", bytes(4 * len(keys)))
        refused = batched.take_batch(keys, waits, now_ns, costs)
        expected = [one_by_one.take(key, now_ns, cost) for key, cost, _ in asked]
        assert waits.tolist() == expected
        assert refused == sum(1 for wait in expected if wait)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 50))
def test_wait_that_was_told_is_long_enough_and_no_longer(
    per_second: int, burst: int, cost: int
) -> None:
    buckets = TokenBuckets(1, per_second, burst)
    now_ns = 0
    while not (wait_ms := buckets.take(7, now_ns, cost)):
        pass
    assert buckets.take(7, now_ns + (wait_ms - 1) * NS_PER_MS, cost) > 0
    assert buckets.take(7, now_ns + wait_ms * NS_PER_MS, cost) == 0


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, NS_PER_S // 4)), max_size=300),
    st.integers(1, 10),
    st.integers(1, 10),
)
def test_table_that_is_too_small_forgets_but_never_refuses_too_much(
    asked: list[tuple[int, int]], per_second: int, burst: int
) -> None:
    ours = TokenBuckets(1, per_second, burst)
    plain = PlainBuckets(per_second, burst)
    memory, now_ns, admitted, admitted_by_plain = ours.memory_bytes, 0, 0, 0
    for key, later_ns in asked:
        now_ns += later_ns
        key %= 97  # more keys than buckets, each asking several times
        free = plain.take(key, now_ns, 1) == 0
        wait = ours.take(key, now_ns)
        admitted += wait == 0
        admitted_by_plain += free
    assert ours.memory_bytes == memory
    # What was forgotten is a burst at most each time.
    assert admitted <= admitted_by_plain + ours.evictions * burst


def test_full_buckets_make_room_and_their_loss_is_none() -> None:
    buckets = TokenBuckets(16, 1, 1)
    for round_ in range(1_000):
        # At each moment no more keys have a bucket than there is room for in any one set.
        assert buckets.take(round_, round_ * NS_PER_S) == 0
    assert buckets.evictions == 0


def test_clock_that_goes_back_costs_no_more_than_a_burst() -> None:
    buckets = TokenBuckets(1, 1, 2)
    assert [buckets.take(1, 10 * NS_PER_S) for _ in range(2)] == [0, 0]
    assert buckets.take(1, 0) == 1_000
    assert buckets.take(1, 1 * NS_PER_S) == 1_000, "what was refused changed nothing"
    assert buckets.take(1, 11 * NS_PER_S) == 0


@pytest.mark.parametrize("name", [case["name"] for case in json.loads(VECTORS.read_text())])
def test_shared_vectors(name: str) -> None:
    [case] = [case for case in json.loads(VECTORS.read_text()) if case["name"] == name]
    buckets = TokenBuckets(1024, case["perSecond"], case["burst"])
    for step in case["steps"]:
        got = buckets.take(int(step["key"]), int(step["nowNs"]), step["cost"])
        assert got == step["waitMs"], step


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 1), "no buckets"),
        ((1, 0, 1), "per_second 0"),
        ((1, NS_PER_S + 1, 1), "per_second 1000000001"),
        ((1, 1, 0), "burst 0"),
        ((1, 1, 2**32), "burst 4294967296"),
    ],
)
def test_settings_out_of_range_are_refused(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenBuckets(*arguments)


def test_largest_settings_do_not_overflow() -> None:
    buckets = TokenBuckets(1, 1, 2**32 - 1)
    latest_ns = 2**62
    assert buckets.take(1, latest_ns, 2**32 - 1) == 0
    assert buckets.take(1, latest_ns, 2**32 - 1) == 2**32 - 1, "saturated"
    with pytest.raises(ValueError, match="out of range"):
        buckets.take(1, latest_ns + 1)


def test_buffers_that_do_not_fit_are_refused_and_nothing_is_taken() -> None:
    buckets = TokenBuckets(1, 1, 1)
    keys, waits = array.array("Q", [1, 2]), array.array("I", [9, 9])
    with pytest.raises(ValueError, match="not 2 items of 4"):
        buckets.take_batch(keys, array.array("I", [9]), 0)
    with pytest.raises(ValueError, match="not 2 items of 4"):
        buckets.take_batch(keys, waits, 0, array.array("I", [1]))
    with pytest.raises(ValueError, match="not 1 items of 8"):
        buckets.take_batch(bytes(9), bytearray(4), 0)
    with pytest.raises(ValueError, match="aligned"):
        buckets.take_batch(memoryview(bytearray(24))[1:17], waits, 0)
    with pytest.raises(ValueError, match="out of range"):
        buckets.take_batch(keys, waits, 2**62 + 1)
    with pytest.raises(BufferError):
        buckets.take_batch(keys, bytes(8), 0)
    assert waits.tolist() == [9, 9]
    assert buckets.take_batch(keys, waits, 0) == 0
    assert waits.tolist() == [0, 0]
