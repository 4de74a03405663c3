"""How long to wait before a worker is started again."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff"]

QUICK_DEATH_S = 10.0
"""A worker that lived longer than this died by itself, not by repeating a crash."""

FIRST_DELAY_S = 0.25
DELAY_S_MAX = 10.0


class Backoff:
    """At once the first time, then doubling with jitter while crashes repeat quickly."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._repeated = 0

    def delay_s(self, lived_s: float) -> float:
        """The delay after a worker that lived for `lived_s`, in seconds."""
        if lived_s >= QUICK_DEATH_S:
            self._repeated = 0
        repeated = self._repeated
        self._repeated += 1
        if repeated == 0:
            return 0.0
        # The exponent is bounded before the power is taken: crashes may repeat for days.
        delay = min(DELAY_S_MAX, FIRST_DELAY_S * 2.0 ** min(repeated - 1, 16))
        return delay * (0.5 + self._jitter() / 2)
