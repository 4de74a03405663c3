"""Who may connect: a token bucket for every address, asked about all that came in one tick.

What comes after a connection stands, how often it, its user and a group may ask, is the engine's
to count: those buckets lie in what it looks at for each request anyway.
"""

from __future__ import annotations

from array import array
from time import monotonic_ns
from typing import TYPE_CHECKING

from imfast._core.token_bucket import TokenBuckets

if TYPE_CHECKING:
    from imfast._engine import Engine

__all__ = ["Admission"]

ADDRESSES = 1 << 16
"""Addresses that are remembered while their buckets fill; 1 MiB at most."""


class Admission:
    """Judges the addresses of new connections."""

    def __init__(self, engine: Engine, per_second: int, burst: int) -> None:
        """`per_second` is of one address; with 0 the engine does not ask."""
        self._engine = engine
        self._buckets = TokenBuckets(ADDRESSES, per_second, burst) if per_second else None

    def judge(self) -> None:
        """Lets in those that wait, or sends them away for a while."""
        addresses = self._engine.arrivals()
        waits = array("I", bytes(len(addresses) // 2))
        if self._buckets is not None:
            self._buckets.take_batch(addresses, waits, monotonic_ns())
        self._engine.judge_arrivals(waits)
