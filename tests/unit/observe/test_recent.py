"""Durations of the last one to two minutes."""

from array import array

from imfast.observe.recent import Recent


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_summary_tells_count_quantiles_and_the_longest() -> None:
    recent = Recent(Clock())
    recent.record_all(array("Q", [10_000] * 98))
    recent.record(2_000_000)
    recent.record(7_000_000)
    summary = recent.summary()
    assert summary["count"] == 100
    assert 10 <= summary["p50_us"] <= 10 * 1.04
    assert 2_000 <= summary["p99_us"] <= 2_000 * 1.04
    assert summary["max_us"] == 7_000


def test_summary_without_durations_is_zero() -> None:
    assert Recent(Clock()).summary() == {"count": 0, "p50_us": 0, "p99_us": 0, "max_us": 0}


def test_duration_is_told_for_one_minute_at_least_and_two_at_most() -> None:
    clock = Clock()
    for second in range(60):
        clock.seconds = 1000.0
        recent = Recent(clock)
        clock.seconds += second
        recent.record(5)
        clock.seconds += 60
        assert recent.summary()["count"] == 1, second
        clock.seconds += 60.0
        assert recent.summary()["count"] == 0, second


def test_long_silence_leaves_nothing_of_before() -> None:
    clock = Clock()
    recent = Recent(clock)
    recent.record(5)
    clock.seconds += 3_000
    assert recent.summary()["count"] == 0
    recent.record(6)
    clock.seconds += 59
    assert recent.summary()["count"] == 1
