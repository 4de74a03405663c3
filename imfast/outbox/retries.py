"""When what failed is tried again, and when it is given up."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from imfast.outbox.store import Letter

__all__ = ["Retries"]

DOUBLINGS_MAX = 30


@dataclass(frozen=True, slots=True)
class Retries:
    """Doubling delays with jitter, up to a number of attempts and an age."""

    backoff_s: float
    backoff_max_s: float
    attempts_max: int
    expiry_s: float
    jitter: Callable[[], float] = random.random

    def delay_ms(self, attempts: int) -> int:
        """How long to wait after so many failed attempts: half for certain, half by chance."""
        doublings = min(max(attempts - 1, 0), DOUBLINGS_MAX)
        delay_s: float = min(self.backoff_max_s, self.backoff_s * 2.0**doublings)
        return round(1000 * delay_s * (0.5 + self.jitter() / 2))

    def after_failure(self, letter: Letter, error: str, now_ms: int) -> Letter:
        """The letter when another attempt has failed."""
        attempts = letter.attempts + 1
        tried = replace(letter, attempts=attempts, error=error)
        if attempts >= self.attempts_max:
            return replace(tried, dead=True, due_ms=now_ms)
        due_ms = now_ms + self.delay_ms(attempts)
        if due_ms > letter.since_ms + round(1000 * self.expiry_s):
            text = f"expired after {attempts} attempts; the last: {error}"
            return replace(tried, dead=True, due_ms=now_ms, error=text)
        return replace(tried, due_ms=due_ms)
