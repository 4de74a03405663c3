"""Durations of the last one to two minutes: what operators see of a worker's speed."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from typing_extensions import Buffer

from imfast._core.histogram import Histogram

__all__ = ["Recent"]

SPAN_S: Final = 60.0
PRECISION: Final = 5
"""Quantiles are at most 3 % above the truth, and a histogram takes 9 KiB."""

NS_PER_US: Final = 1000


class Recent:
    """Two histograms in turn: the one that fills, and the one of the span before."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        """`now`: seconds that only grow."""
        self._now = now
        self._filling, self._before = Histogram(PRECISION), Histogram(PRECISION)
        self._until = now() + SPAN_S

    def record(self, ns: int) -> None:
        """Counts one duration."""
        self._turn()
        self._filling.record(ns)

    def record_all(self, ns: Buffer) -> None:
        """Counts an array of u64."""
        self._turn()
        self._filling.record_all(ns)

    def summary(self) -> dict[str, float]:
        """How many there were and where they lie, in microseconds; zeros without any."""
        self._turn()
        both = Histogram(PRECISION)
        both.merge(self._filling)
        both.merge(self._before)
        return {
            "count": both.count,
            "p50_us": both.quantile(0.5) / NS_PER_US,
            "p99_us": both.quantile(0.99) / NS_PER_US,
            "max_us": both.largest / NS_PER_US,
        }

    def _turn(self) -> None:
        late_s = self._now() - self._until
        if late_s < 0:
            return
        self._filling, self._before = self._before, self._filling
        self._filling.reset()
        if late_s >= SPAN_S:  # nothing came for a whole span: what was filled last is old too
            self._before.reset()
        self._until += SPAN_S * (late_s // SPAN_S + 1)
