"""Faults that a worker survives or ends by: logged once, counted, told to the supervisor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

import structlog

from imfast._engine import Finished, PanicException, last_panic
from imfast.worker import crash

__all__ = ["Faults"]

log = structlog.get_logger(__name__)

QUIET_S: Final = 60.0
"""A kind that did not happen for so long is logged again when it does."""


class Faults:
    """Counts by kind, for as long as the worker lives."""

    def __init__(self, tell: Callable[[Mapping[str, int]], None]) -> None:
        """`tell` gets all counts whenever one has changed."""
        self._tell = tell
        self._counts: Counter[str] = Counter()
        self._last: dict[str, float] = {}

    def counted(self, totals: Mapping[str, int]) -> None:
        """Takes the engine's totals: queues that ran full, panics that were contained."""
        for kind, total in totals.items():
            more = total - self._counts[kind]
            if more <= 0:
                continue
            if self._is_new(kind):
                panic = last_panic() if kind.endswith("panics") else None
                log.warning("fault", kind=kind, count=more, total=total, panic=panic)
            self._counts[kind] = total
        self._tell(self._counts)

    def exception(self, kind: str, error: BaseException, **where: object) -> None:
        """An exception in our code; `where` says what it touched."""
        self._counts[kind] += 1
        # The engine has written the report of a panic, with its backtrace.
        report = None if isinstance(error, PanicException) else crash.report(kind, error)
        if self._is_new(f"{kind} {report or type(error)}"):
            log.error(
                "fault",
                kind=kind,
                **where,
                report=str(report) if report else None,
                panic=last_panic() if isinstance(error, PanicException) else None,
                exc_info=error,
            )
        self._tell(self._counts)

    def append_failed(self, finished: Finished) -> None:
        """A batch did not become durable."""
        kind = "appends_lost" if finished.lost else "appends_failed"
        self._counts[kind] += 1
        if self._is_new(f"{kind} {finished.partition} {finished.failure}"):
            log.error("append failed", partition=finished.partition, reason=finished.failure)
        self._tell(self._counts)

    def _is_new(self, what: str) -> bool:
        now = monotonic()
        last = self._last.get(what)
        self._last[what] = now
        return last is None or now - last > QUIET_S
