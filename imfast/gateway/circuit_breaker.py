"""Stops asking what does not answer, so that waiting for it does not take everything else along.

::

    closed ── failures in a row ──► open ── its time is over ──► half open
      ▲                              ▲                              │
      └── probes answered ───────────┼──────────────────────────────┤
                                     └── a probe failed: longer ────┘

A call is guarded like this; the time-out is the caller's, for only an awaited call can be left::

    with breaker.guard():
        async with asyncio.timeout(2):
            keys = await fetch()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

import structlog

from imfast.errors import OverloadedError, RequestError

__all__ = ["CircuitBreaker", "State"]

log = structlog.get_logger(__name__)


class State(Enum):
    """What happens to the next call."""

    CLOSED = "closed"
    """It is made."""
    OPEN = "open"
    """It is refused."""
    HALF_OPEN = "half open"
    """One at a time is made, to see."""


class CircuitBreaker:
    """Of one thing that calls are made to. Used on one thread; calls may overlap by awaiting."""

    def __init__(
        self,
        name: str,
        *,
        failures_max: int = 5,
        probes: int = 2,
        open_s: float = 1.0,
        open_s_max: float = 30.0,
        slow_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens after `failures_max` failures in a row, closes after `probes` good answers.

        It stays open for `open_s`, and for twice as long each time that a probe fails, up to
        `open_s_max`. A call that took `slow_s` is a failure, whatever came of it.
        """
        self._name = name
        self._failures_max = failures_max
        self._probes = probes
        self._open_s = self._open_s_min = open_s
        self._open_s_max = open_s_max
        self._slow_s = slow_s
        self._clock = clock
        self._state = State.CLOSED
        self._in_a_row = 0
        """Failures while closed, good answers while half open."""
        self._open_until = 0.0
        self._probing = False
        self._period = 0
        """Grows with every change of state: a call of an earlier period says nothing about now."""

    @property
    def state(self) -> State:
        """As of now."""
        if self._state is State.OPEN and self._clock() >= self._open_until:
            self._become(State.HALF_OPEN)
        return self._state

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Surrounds one call.

        A RequestError is the client's fault and a good answer, any other exception a failure; a
        call that is cancelled counts as none.

        Raises:
            OverloadedError: the call is not to be made; it says when to try again.
        """
        state = self.state
        if state is State.OPEN or self._probing:
            raise OverloadedError(f"{self._name} does not answer", self._retry_after_ms())
        self._probing = state is State.HALF_OPEN
        period, began = self._period, self._clock()
        try:
            yield
        except RequestError:
            self._ended(period, good=self._clock() - began < self._slow_s)
            raise
        except Exception:
            self._ended(period, good=False)
            raise
        except BaseException:
            if period == self._period:
                self._probing = False
            raise
        self._ended(period, good=self._clock() - began < self._slow_s)

    def _ended(self, period: int, *, good: bool) -> None:
        if period != self._period:
            return
        self._probing = False
        if good is (self._state is State.HALF_OPEN):
            self._in_a_row += 1
        elif self._state is State.CLOSED:
            self._in_a_row = 0
            return
        if self._state is State.CLOSED and self._in_a_row >= self._failures_max:
            self._become(State.OPEN)
        elif self._state is State.HALF_OPEN and not good:
            self._open_s = min(self._open_s * 2, self._open_s_max)
            self._become(State.OPEN)
        elif self._state is State.HALF_OPEN and self._in_a_row >= self._probes:
            self._open_s = self._open_s_min
            self._become(State.CLOSED)

    def _become(self, state: State) -> None:
        self._state = state
        self._period += 1
        self._in_a_row = 0
        self._probing = False
        if state is State.OPEN:
            self._open_until = self._clock() + self._open_s
        log.warning("circuit breaker", of=self._name, state=state.value)

    def _retry_after_ms(self) -> int:
        """While a probe is under way, what a failure of it would cost."""
        left_s = self._open_until - self._clock() if self._state is State.OPEN else self._open_s
        return max(1, round(left_s * 1000))
