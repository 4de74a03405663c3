"""What waits for the application: a bounded queue of updates with the sync tokens between them.

A token is only the application's once it has taken every update before it, so tokens travel in
the queue. `Inbox.sync` is therefore always safe to store: coming back with it loses nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .models import Sync, Update
from .order import seq_of

__all__ = ["Inbox"]


@dataclass(frozen=True, slots=True)
class _Token:
    token: str


class Inbox:
    """A queue with one reader at a time; `on_room` is called whenever an update is taken."""

    def __init__(self, sync: Sync, *, limit: int, on_room: Callable[[], None]) -> None:
        self._queue: deque[Update | _Token] = deque()
        self._token = sync.token
        self._heads = dict(sync.heads)
        self._limit = limit
        self._on_room = on_room
        self._changed = asyncio.Event()
        # Updates in the queue, tokens not counted.
        self._updates = 0
        self._ended = False
        self._error: BaseException | None = None

    def __len__(self) -> int:
        return self._updates

    @property
    def full(self) -> bool:
        """Whether the application is behind: nothing more should be read from the network."""
        return self._updates >= self._limit

    @property
    def sync(self) -> Sync:
        """Where the application is."""
        return Sync(self._token, dict(self._heads))

    def put(self, update: Update) -> None:
        """Append; bounding is the caller's business, who cannot always stop at once."""
        self._queue.append(update)
        self._updates += 1
        self._changed.set()

    def put_token(self, token: str) -> None:
        """Append a token: it becomes the application's after the updates before it."""
        if not self._updates:
            self._token = token
        elif isinstance(self._queue[-1], _Token):
            self._queue[-1] = _Token(token)
        else:
            self._queue.append(_Token(token))

    def end(self, error: BaseException | None = None) -> None:
        """No more will come; after what is queued, `get` raises `error` or StopAsyncIteration."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._changed.set()

    async def get(self) -> Update:
        """Take the next update. Cancelling loses none."""
        while not self._updates:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        update = self._queue.popleft()
        assert not isinstance(update, _Token), "tokens are taken with what precedes them"  # noqa: S101
        self._updates -= 1
        if seq_of(update):
            self._heads[update.conversation] = seq_of(update)
        if self._queue and isinstance(self._queue[0], _Token):
            self._token = self._queue.popleft().token  # type: ignore[union-attr]
        self._on_room()
        return update
