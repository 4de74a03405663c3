"""How long a slot stays empty."""

from __future__ import annotations

import pytest

from imfast.supervisor.backoff import Backoff


def test_first_crash_restarts_at_once():
    assert Backoff().delay_s(0.1) == 0.0


def test_repeated_crashes_wait_longer_up_to_ten_seconds():
    backoff = Backoff(jitter=lambda: 1.0)
    delays = [backoff.delay_s(0.1) for _ in range(9)]
    assert delays == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert [backoff.delay_s(0.1) for _ in range(2000)][-1] == 10.0


def test_jitter_takes_up_to_half_of_the_delay():
    backoff = Backoff(jitter=lambda: 0.0)
    backoff.delay_s(0.1)
    assert backoff.delay_s(0.1) == pytest.approx(0.125)


def test_crash_after_a_long_life_restarts_at_once():
    backoff = Backoff()
    for _ in range(5):
        backoff.delay_s(0.1)
    assert backoff.delay_s(10.0) == 0.0
    assert backoff.delay_s(0.1) > 0.0
