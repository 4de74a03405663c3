"""The end of a worker in order: it accepts nobody, sends its clients away in shares, finishes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Drain"]

LOOK_S = 0.05
"""Between two shares, and between two looks at what is left."""

SPREAD_PART = 0.8
"""Of the time that there is: the last ones get the rest to take what waits for them."""

AWAY_PER_S_MIN = 2000.0
"""Clients that are sent away in a second, at least. So many come back at once without harm, and a
small server need not take its time."""

RECONNECT_WITHIN_MS = 500
"""Each client waits for a random part of this, where it goes on at all."""


class Drained(Protocol):
    """What of the engine takes part."""

    def drain(self) -> None: ...
    def send_away(self, count: int, reconnect_within_ms: int) -> int: ...
    def drained(self) -> bool: ...
    def vacated(self) -> bool: ...
    def flush(self) -> None: ...


class Drain:
    """Runs once, on the running event loop."""

    def __init__(self, engine: Drained, finished: Callable[[], None]) -> None:
        """`finished` is called when nothing is left to do, or the time is over."""
        self._engine = engine
        self._finished = finished
        self._deadline: float | None = None
        self._is_over: Callable[[], bool] = engine.drained

    @property
    def is_begun(self) -> bool:
        """Whether it runs, or has."""
        return self._deadline is not None

    def begin(self, seconds: float, *, successor: bool) -> None:
        """Accepts nobody from now on; a second call changes nothing.

        Args:
            seconds: how long it may take.
            successor: another worker takes over the partitions, while others keep sending to
                them: it need not wait until nobody asks any more. What is unanswered then is
                asked again, as after a crash.
        """
        if self.is_begun:
            return
        engine, loop = self._engine, asyncio.get_running_loop()
        if successor:
            self._is_over = engine.vacated
        self._deadline = time.monotonic() + seconds
        engine.drain()
        left = engine.send_away(0, 0)
        per_s = (
            max(AWAY_PER_S_MIN, left / (seconds * SPREAD_PART)) if seconds > 0 else left / LOOK_S
        )
        share = int(per_s * LOOK_S) + 1
        self._go_on(loop, share, self._deadline)

    def _go_on(self, loop: asyncio.AbstractEventLoop, share: int, deadline: float) -> None:
        left = self._engine.send_away(share, RECONNECT_WITHIN_MS)
        self._engine.flush()
        if (left == 0 and self._is_over()) or time.monotonic() >= deadline:
            self._finished()
        else:
            loop.call_later(LOOK_S, self._go_on, loop, share, deadline)
