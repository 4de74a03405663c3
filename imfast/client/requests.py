"""Requests that wait for their answer, across connections."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .codec import Frame
from .errors import IMFastError, error_from_code

__all__ = ["Answer", "Request", "Requests", "error_from_wire"]

Answer = tuple[str, Mapping[str, Any]]
"""The name of the reply and its body."""


@dataclass(eq=False)
class Request:
    """One request. ``sent_on`` is the number of the session it was last written to, 0 for none."""

    id: int
    frame: Frame
    # Whether it may be written again after a break. What cannot be told from a repeat may not.
    repeatable: bool
    answer: asyncio.Future[Answer]
    sent_on: int = 0


class Requests:
    """The open requests by id, in the order in which they were made."""

    def __init__(self, on_added: Callable[[], None]) -> None:
        self._open: dict[int, Request] = {}
        self._ids = itertools.count(1)
        self._on_added = on_added

    def __len__(self) -> int:
        return len(self._open)

    def next_id(self) -> int:
        """Return an id that no other frame of this client has."""
        return next(self._ids)

    def add(self, verb: str, body: Mapping[str, Any], *, repeatable: bool) -> Request:
        """Open a request. It must be removed by whoever opened it."""
        number = self.next_id()
        request = Request(
            number,
            {"id": number, verb: dict(body)},
            repeatable,
            asyncio.get_running_loop().create_future(),
        )
        self._open[number] = request
        self._on_added()
        return request

    def remove(self, request: Request) -> None:
        """Close a request. An answer that still comes is ignored."""
        self._open.pop(request.id, None)

    def answer(self, number: int, name: str, body: Mapping[str, Any]) -> None:
        """Give a request its answer; unknown ids are of requests given up, or of pings."""
        request = self._open.get(number)
        if request is None or request.answer.done():
            return
        if name == "error":
            request.answer.set_exception(error_from_wire(body))
        else:
            request.answer.set_result((name, body))

    def unsent(self, session: int) -> list[Request]:
        """Return the open requests not yet written to this session, the oldest first."""
        return [
            request
            for request in self._open.values()
            if request.sent_on != session and not request.answer.done()
        ]

    def waiting_on(self, session: int) -> list[asyncio.Future[Answer]]:
        """Return the answers that are expected from this session."""
        return [
            request.answer
            for request in self._open.values()
            if request.sent_on == session and not request.answer.done()
        ]

    def fail(self, error: Exception, *, unrepeatable_of: int | None = None) -> None:
        """Fail all open requests, or only those written to a session that may not be repeated."""
        for request in self._open.values():
            if unrepeatable_of is not None and (
                request.repeatable or request.sent_on != unrepeatable_of
            ):
                continue
            if not request.answer.done():
                request.answer.set_exception(error)


def error_from_wire(body: Mapping[str, Any]) -> IMFastError:
    """Make the exception of an error frame."""
    return error_from_code(
        int(body.get("code", 0)),
        str(body.get("name", "")),
        str(body.get("message", "")),
        retryable=bool(body.get("retryable", False)),
        retry_after=float(body.get("retryAfterMs", 0)) / 1000,
    )
