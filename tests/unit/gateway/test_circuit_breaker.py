"""The circuit breaker in each of its states, with a clock of the test's own."""

from __future__ import annotations

import asyncio

import pytest

from imfast.codes import Code
from imfast.errors import OverloadedError, TokenInvalidError
from imfast.gateway.circuit_breaker import CircuitBreaker, State

OPEN_S, OPEN_S_MAX, SLOW_S = 10.0, 35.0, 2.0


class Bench:
    """A breaker, and calls through it that end as they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.made = 0
        self.breaker = CircuitBreaker(
            "the thing",
            failures_max=3,
            probes=2,
            open_s=OPEN_S,
            open_s_max=OPEN_S_MAX,
            slow_s=SLOW_S,
            clock=lambda: self.now,
        )

    def call(self, *, error: Exception | None = None, seconds: float = 0.0) -> None:
        with self.breaker.guard():
            self.made += 1
            self.now += seconds
            if error is not None:
                raise error

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            with pytest.raises(OSError, match="away"):
                self.call(error=OSError("away"))

    def refused(self) -> int:
        """The wait that a call is refused with."""
        made = self.made
        with pytest.raises(OverloadedError) as refusal:
            self.call()
        assert self.made == made, "the call was not made"
        return refusal.value.retry_after_ms

    @property
    def state(self) -> State:
        return self.breaker.state


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_closed_breaker_lets_calls_and_their_errors_through(bench: Bench) -> None:
    bench.call()
    bench.fail(2)
    assert bench.state is State.CLOSED


def test_failures_in_a_row_open_it_and_others_do_not(bench: Bench) -> None:
    bench.fail(2)
    bench.call()
    bench.fail(2)
    assert bench.state is State.CLOSED
    bench.fail()
    assert bench.state is State.OPEN


def test_client_errors_count_as_good_answers(bench: Bench) -> None:
    for _ in range(10):
        with pytest.raises(TokenInvalidError):
            bench.call(error=TokenInvalidError("forged"))
    assert bench.state is State.CLOSED
    bench.fail(2)
    with pytest.raises(TokenInvalidError):
        bench.call(error=TokenInvalidError("forged"))
    bench.fail(2)
    assert bench.state is State.CLOSED


def test_slow_calls_are_failures_whatever_came_of_them(bench: Bench) -> None:
    bench.call(seconds=SLOW_S - 0.1)
    bench.call(seconds=SLOW_S)
    with pytest.raises(TokenInvalidError):
        bench.call(seconds=SLOW_S, error=TokenInvalidError("late"))
    assert bench.state is State.CLOSED
    bench.call(seconds=SLOW_S)
    assert bench.state is State.OPEN


def test_open_breaker_refuses_and_says_for_how_long(bench: Bench) -> None:
    bench.fail(3)
    assert bench.refused() == OPEN_S * 1000
    bench.now += OPEN_S - 0.25
    assert bench.refused() == 250
    assert OverloadedError.code is Code.OVERLOADED


def test_half_open_breaker_closes_after_enough_good_answers(bench: Bench) -> None:
    bench.fail(3)
    bench.now += OPEN_S
    assert bench.state is State.HALF_OPEN
    bench.call()
    assert bench.state is State.HALF_OPEN
    with pytest.raises(TokenInvalidError):
        bench.call(error=TokenInvalidError("forged"))
    assert bench.state is State.CLOSED
    bench.fail(2)
    assert bench.state is State.CLOSED, "failures count anew"


def test_half_open_breaker_opens_for_longer_with_each_failed_probe(bench: Bench) -> None:
    bench.fail(3)
    for wait_s in (OPEN_S * 2, OPEN_S_MAX, OPEN_S_MAX):
        bench.now += OPEN_S_MAX
        bench.call()
        bench.fail()
        assert bench.state is State.OPEN
        assert bench.refused() == wait_s * 1000
    bench.now += OPEN_S_MAX
    bench.call()
    bench.call()
    bench.fail(3)
    assert bench.refused() == OPEN_S * 1000, "once closed, it starts from the shortest"


def test_half_open_breaker_makes_one_call_at_a_time(bench: Bench) -> None:
    bench.fail(3)
    bench.now += OPEN_S
    with bench.breaker.guard():
        assert bench.refused() == OPEN_S * 1000
    bench.call()
    assert bench.state is State.CLOSED


def test_call_of_an_earlier_period_changes_nothing(bench: Bench) -> None:
    late_success, late_failure = bench.breaker.guard(), bench.breaker.guard()
    late_success.__enter__()
    late_failure.__enter__()
    bench.fail(3)
    bench.now += OPEN_S
    bench.call()
    late_success.__exit__(None, None, None)
    late_failure.__exit__(OSError, OSError("late"), None)
    assert bench.state is State.HALF_OPEN


async def test_cancelled_probe_counts_as_none_and_makes_room_for_the_next(bench: Bench) -> None:
    bench.fail(3)
    bench.now += OPEN_S

    async def hang() -> None:
        with bench.breaker.guard():
            await asyncio.Event().wait()

    probe = asyncio.create_task(hang())
    await asyncio.sleep(0)
    assert bench.refused() == OPEN_S * 1000
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert bench.state is State.HALF_OPEN
    bench.call()
    bench.call()
    assert bench.state is State.CLOSED


async def test_time_out_of_an_awaited_call_is_a_failure(bench: Bench) -> None:
    async def hang() -> None:
        with bench.breaker.guard():
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

    for _ in range(3):
        with pytest.raises(TimeoutError):
            await hang()
    assert bench.state is State.OPEN
