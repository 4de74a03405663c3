"""Receipts and presence on their way to the application: of each thing only the latest matters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, Self, TypeVar

__all__ = ["Notices"]

_T = TypeVar("_T")


class Notices(Generic[_T]):
    """What waits, in the order in which it was first told; one task may iterate.

    A newer notice of the same thing replaces one that waits, in its place. Beyond `limit` the
    oldest goes: none of them is more than a hint, which the server can be asked about.
    """

    def __init__(self, about: Callable[[_T], Hashable], *, limit: int) -> None:
        self._about = about
        self._limit = limit
        self._waiting: dict[Hashable, _T] = {}
        self._changed = asyncio.Event()
        self._ended = False
        self._error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, notice: _T) -> None:
        """Take a notice."""
        self._waiting[self._about(notice)] = notice
        if len(self._waiting) > self._limit:
            del self._waiting[next(iter(self._waiting))]
        self._changed.set()

    def end(self, error: BaseException | None) -> None:
        """No more will come."""
        self._ended = True
        self._error = error
        self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        """Return the next notice; ends as iteration over the client does."""
        while not self._waiting:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.pop(next(iter(self._waiting)))
