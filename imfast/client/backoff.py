"""When to reconnect, and whether.

Delays use full jitter: uniform between 0 and a bound, so that clients which lost the same server
do not come back together. The bound stays small for the attempts that a restart takes, as a server
that is started again at once is away for less than half a second; then it grows exponentially.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

__all__ = ["Backoff", "may_reconnect"]

# RFC 6455, section 7.4.1: done, or we broke the protocol and would only break it again.
_FINAL = frozenset({1000, 1002, 1003, 1007, 1008, 1009, 1010})


def may_reconnect(close_code: int | None) -> bool:
    """Whether a connection closed with this code (None: without one) should be made again.

    Of the server's own codes, 4000-4499 mean reconnect and 4500-4999 do not.
    """
    if close_code is None:
        return True
    if 4500 <= close_code <= 4999:
        return False
    return close_code not in _FINAL


@dataclass
class Backoff:
    """Delays in seconds between attempts."""

    base: float = 0.1
    cap: float = 20.0
    quick: int = 0
    """Attempts before the bound grows."""
    random: random.Random = field(default_factory=random.SystemRandom)
    attempts: int = 0

    def next(self, floor: float = 0.0) -> float:
        """Return the next delay; the jitter is added to `floor`, what the server asked for."""
        doublings = min(max(0, self.attempts - self.quick), 30)
        bound = min(self.cap, self.base * 2**doublings)
        self.attempts += 1
        return floor + self.random.uniform(0.0, bound)

    def reset(self) -> None:
        """Start over: the connection worked."""
        self.attempts = 0
