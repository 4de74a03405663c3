"""What a soak run says of kills follows from what its probes saw."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.soak.figures import Kill, availability, note_breaks, outage, share_failed
from benchmarks.soak.probes import Sample

KILLED = 100.0
END = 110.0
NOW = 200.0


def samples(*latencies: float | None, first: float = 99.95) -> list[Sample]:
    """Make sends every 100 ms from shortly before the kill on; None: never answered."""
    times = [first + 0.1 * number for number in range(len(latencies))]
    return [
        Sample(at, None if latency is None else at + latency)
        for at, latency in zip(times, latencies, strict=True)
    ]


def test_outage_is_the_longest_wait_around_the_kill() -> None:
    assert outage(samples(0.45, 0.38, 0.28, 0.01), KILLED, END, NOW) == pytest.approx(0.45)


def test_kill_that_no_probe_waited_for_is_no_outage() -> None:
    assert outage(samples(0.002, 0.09, 0.01), KILLED, END, NOW) == 0.0


def test_waits_of_other_times_are_not_this_kills() -> None:
    assert outage(samples(3.0, first=99.8), KILLED, END, NOW) == 0.0
    assert outage(samples(3.0, first=110.5), KILLED, END, NOW) == 0.0


def test_probe_without_an_answer_waits_until_now() -> None:
    assert outage(samples(None), KILLED, END, NOW) == pytest.approx(NOW - 99.95)


def test_probes_over_a_second_late_have_failed() -> None:
    assert share_failed(samples(0.1, 0.999, 1.001, None), NOW) == 0.5
    assert share_failed([], NOW) == 0.0


def test_availability_counts_one_crash_a_day_of_the_average_probe() -> None:
    # Half of the probes are away for 8.64 s of 86,400.
    kills = [Kill("a worker", KILLED, touched=[8.64, 8.64], others=[0.0, 0.0])]
    assert availability(kills) == pytest.approx(0.99995)


def test_broken_connections_belong_to_the_kill_before_them() -> None:
    kills = [Kill("a worker", 100.0), Kill("all workers", 160.0)]
    note_breaks(
        kills, [line(100.5, 3, 200.0, 400.0), line(99.0, 9, 9.0, 9.0), line(161.0, 5, 1, 2)]
    )
    assert [(kill.breaks, kill.break_max) for kill in kills] == [(3, 0.4), (5, 0.002)]


def line(at: float, count: int, median_ms: float, max_ms: float) -> dict[str, Any]:
    outages = {"count": count, "median_ms": median_ms, "max_ms": max_ms}
    return {"at_ns": at * 1e9, "outages": outages}
