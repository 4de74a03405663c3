"""From what was seen to what is said: outages, failed probes, availability."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.soak.probes import Probe, Sample

__all__ = ["Kill", "availability", "outage", "share_failed", "table"]

NOTICED_SECONDS = 0.1
"""A probe that is answered within this time noticed nothing: they come every 100 ms."""
FAILED_SECONDS = 1.0
"""A probe without an answer within this time has failed."""
CRASHES_A_DAY = 1
DAY_SECONDS = 86_400.0

OUTAGE_SECONDS_MAX = 0.5
AVAILABILITY_MIN = 0.99995


@dataclass
class Kill:
    """A kill and what became of it. Times are of the monotonic clock, in seconds."""

    kind: str
    at: float
    # Workers that it ended, and their partitions.
    servers: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()
    # Until the ready file named living workers only.
    ready_after: float = 0.0
    # The share of that time in which the workers that stayed were kept from a processor.
    starved: float = 0.0
    # Outages of probes that it touched, and of the others.
    touched: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    # Of the generator's connections: count, median and longest.
    breaks: int = 0
    break_median: float = 0.0
    break_max: float = 0.0

    def touches(self, probe: Probe, server: str) -> bool:
        """Whether it ended what a probe that was connected to `server` uses."""
        return server in self.servers or probe.partition in self.partitions


def outage(samples: Iterable[Sample], since: float, until: float, now: float) -> float:
    """Return how long a probe was without an answer after a kill at `since`: 0 if not noticed.

    It is the longest wait of what was to be sent from one interval before the kill on.
    """
    waits = [
        sample.latency(now)
        for sample in samples
        if since - NOTICED_SECONDS <= sample.intended < until
    ]
    longest = max(waits, default=0.0)
    return longest if longest > NOTICED_SECONDS else 0.0


def share_failed(samples: Sequence[Sample], now: float) -> float:
    """Return the share of probes without an answer in time."""
    failed = sum(sample.latency(now) > FAILED_SECONDS for sample in samples)
    return failed / max(1, len(samples))


def availability(kills: Sequence[Kill]) -> float:
    """Return the share of a day that an average probe is served, at one crash a day."""
    means = [statistics.fmean(kill.touched + kill.others) for kill in kills]
    return 1.0 - CRASHES_A_DAY * statistics.fmean(means) / DAY_SECONDS


def note_breaks(kills: Sequence[Kill], progress: Sequence[dict[str, Any]]) -> None:
    """Give each kill the outages of the generator's connections that ended after it."""
    for kill, following in zip(kills, [*kills[1:], None], strict=True):
        until = float("inf") if following is None else following.at
        lines = [
            line["outages"]
            for line in progress
            if kill.at <= line["at_ns"] / 1e9 < until and line["outages"]["count"]
        ]
        if not lines:
            continue
        kill.breaks = sum(line["count"] for line in lines)
        biggest = max(lines, key=lambda line: line["count"])
        kill.break_median = biggest["median_ms"] / 1e3
        kill.break_max = max(line["max_ms"] for line in lines) / 1e3


def table(kills: Sequence[Kill]) -> list[str]:
    """Return a row for each kind of kill."""
    rows = [
        "| killed | times | ready again | probes touched: median, worst | others: worst"
        " | connections: broken, median, worst | availability |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind in dict.fromkeys(kill.kind for kill in kills):
        same = [kill for kill in kills if kill.kind == kind]
        touched = [seconds for kill in same for seconds in kill.touched]
        others = [seconds for kill in same for seconds in kill.others]
        rows.append(
            f"| {kind} | {len(same)}"
            f" | {ms(statistics.median(kill.ready_after for kill in same))}"
            f" | {ms(statistics.median(touched)) if touched else 'none'}"
            f", {ms(max(touched, default=0.0))}"
            f" | {ms(max(others)) if others else 'none'}"
            f" | {sum(kill.breaks for kill in same)}"
            f", {ms(statistics.median(kill.break_median for kill in same))}"
            f", {ms(max(kill.break_max for kill in same))}"
            f" | {availability(same):.5%} |"
        )
    return rows


def ms(seconds: float) -> str:
    """Write a time as whole milliseconds."""
    return f"{seconds * 1e3:.0f} ms"
