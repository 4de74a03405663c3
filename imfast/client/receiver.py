"""Pushed rows and tokens on their way to the application.

Joins `Order` (exactness) and `Inbox` (the bounded queue), and decides which sync token a
reconnection may use: one is adopted only when everything that came before it is applied.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .inbox import Inbox
from .models import Event, Expired, Message, Presence, Receipt, Sync, Update
from .notices import Notices
from .order import Gap, Order, seq_of

__all__ = ["RECEIVED", "Receiver"]

_KINDS: dict[str, Callable[[Mapping[str, Any]], Update]] = {
    "message": Message.from_wire,
    "event": Event.from_wire,
    "expired": Expired.from_wire,
}


class Receiver:
    """All that is received, over all connections.

    At most `limit` updates wait for the application. Beyond that the session stops reading, unless
    a request waits for its answer; then up to twice as many are taken, and more are discarded:
    `overflown` says so, and the session must be made again from the adopted token.
    """

    def __init__(self, sync: Sync, *, limit: int) -> None:
        self._room = asyncio.Event()
        self._order = Order(sync.heads)
        self._limit = limit
        self.inbox = Inbox(sync, limit=limit, on_room=self._room.set)
        self.receipts: Notices[Receipt] = Notices(
            lambda one: (one.conversation, one.user), limit=limit
        )
        self.presence: Notices[Presence] = Notices(lambda one: one.user, limit=limit)
        # The token that a new connection resumes from.
        self.token = sync.token
        # Received while a gap was open.
        self._token_waiting: str | None = None
        self.overflown = False

    @property
    def drained(self) -> bool:
        """Whether the application has caught up enough to go on after an overflow."""
        return len(self.inbox) <= self._limit // 2

    def started(self) -> None:
        """Begin a new connection: its catch-up brings again what was not applied."""
        self._order.abandon()
        self._token_waiting = None
        self.overflown = False

    def push(self, kind: str, body: Mapping[str, Any]) -> Gap | None:
        """Take a message, event or expired push. Return the gap to fetch, if one opened."""
        if self.overflown or len(self.inbox) >= 2 * self._limit:
            self.overflown = True
            return None
        deliver, gap = self._order.offer(_KINDS[kind](body))
        self._deliver(deliver)
        return gap

    def notice(self, kind: str, body: Mapping[str, Any]) -> None:
        """Take a receipt or a change of presence."""
        if kind == "receipt":
            self.receipts.put(Receipt.from_wire(body))
        else:
            for one in Presence.list_from_wire(body):
                self.presence.put(one)

    def end(self, error: BaseException | None) -> None:
        """No more will come."""
        self.inbox.end(error)
        self.receipts.end(error)
        self.presence.end(error)

    def page(self, gap: Gap, items: Iterable[Update]) -> None:
        """Take rows of history that answer `gap`."""
        self._deliver(self._order.page(gap.conversation, sorted(items, key=seq_of)))

    def close_gap(self, gap: Gap) -> Gap | None:
        """End `gap`. Return the next one in the same conversation, if there is one."""
        deliver, following = self._order.close(gap.conversation)
        self._deliver(deliver)
        if not self._order.filling and self._token_waiting is not None:
            token, self._token_waiting = self._token_waiting, None
            self._adopt(token)
        return following

    def checkpoint(self, token: str) -> None:
        """Take a sync token."""
        if self.overflown or not token:
            return
        if self._order.filling:
            self._token_waiting = token
        else:
            self._adopt(token)

    async def wait_for_room(self) -> None:
        """Wait until the application is not behind."""
        while self.inbox.full:
            await self.wait_for_change()

    async def wait_for_change(self) -> None:
        """Wait until the application took something or `wake` was called."""
        self._room.clear()
        await self._room.wait()

    def wake(self) -> None:
        """Let `wait_for_change` return."""
        self._room.set()

    def _adopt(self, token: str) -> None:
        self.token = token
        self.inbox.put_token(token)

    def _deliver(self, updates: Iterable[Update]) -> None:
        for update in updates:
            self.inbox.put(update)


RECEIVED = frozenset(_KINDS)
"""The pushes that `Receiver.push` takes."""
