"""The client that applications use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from .keys import idempotency_key
from .link import Link, State, StateListener, Token
from .models import (
    Connected,
    Conversation,
    ConversationsPage,
    Group,
    GroupChange,
    HistoryPage,
    MembersPage,
    Presence,
    Receipt,
    ReceiptCounts,
    Sent,
    Sync,
    Update,
)
from .notices import Notices
from .options import Options
from .order import seq_of
from .transport import check_url

__all__ = ["IMFast", "connect"]


class _Unset:
    """Tells ``json=None``, which sends null, from no ``json``."""


_UNSET: Final = _Unset()

Target = str | Group | Conversation
"""Whom to send to: a user's id, a group, or a conversation."""


def connect(
    url: str,
    *,
    token: Token,
    device: str | None = None,
    sync: Sync | str | None = None,
    options: Options | None = None,
) -> IMFast:
    """Make a client; ``async with`` connects it::

        async with imfast.connect("ws://localhost:8080", token=token) as im:
            await im.send(to="bob", text="hi")
            async for update in im:
                print(update)

    `url` is ``ws://``, ``wss://`` or ``tcp://host:port``. `token` is a JWT or a callable, plain or
    async, that returns one. `device` names this installation to the server. `sync` is what
    ``im.sync`` was when the application last ran: it goes on from there.
    """
    check_url(url)
    if isinstance(sync, str):
        sync = Sync(sync)
    return IMFast(Link(url, token, device, sync or Sync(), options or Options()))


class IMFast:
    """A connection to imfast that outlives its connections.

    Iterating yields every message and event of the user's conversations, his own included, each
    once and in seq order per conversation, also across reconnections. One task may iterate; any
    number may send. Requests that a break leaves unanswered are repeated with the same key until
    their deadline, in their order; one that the server asked to repeat later may be overtaken.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def __aenter__(self) -> Self:
        await self._link.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        """Return the next update; ends after `close`, raises what ended the client otherwise."""
        return await self._link.receiver.inbox.get()

    @property
    def state(self) -> State:
        """Where the connection is now."""
        return self._link.state

    @property
    def connected(self) -> Connected:
        """The greeting of the latest session: who we are, and on which server."""
        if self._link.connected is None:
            raise RuntimeError("not connected yet: use the client in `async with`")
        return self._link.connected

    @property
    def sync(self) -> Sync:
        """Where the application has got to, for `connect` in its next run.

        It covers what iteration has yielded: store it when that is dealt with.
        """
        return self._link.receiver.inbox.sync

    @property
    def receipts(self) -> Notices[Receipt]:
        """Who has got and read this user's messages, and what his other devices have read.

        Iterate it, in a task of its own. Receipts are hints: what comes while the connection is
        away does not come again, and `receipt_counts` tells how it stands.
        """
        return self._link.receiver.receipts

    @property
    def presence(self) -> Notices[Presence]:
        """Changes of those that `watch` named; iterate it, in a task of its own."""
        return self._link.receiver.presence

    def on_state(self, listener: StateListener) -> Callable[[], None]:
        """Call `listener` at each change of state. Returns what takes it off again."""
        self._link.listeners.append(listener)

        def remove() -> None:
            if listener in self._link.listeners:
                self._link.listeners.remove(listener)

        return remove

    async def close(self) -> None:
        """Disconnect; may be called more than once. Iteration ends after what has arrived."""
        await self._link.close()

    async def send(
        self,
        to: Target,
        *,
        json: Any = _UNSET,
        text: str | None = None,
        bytes: bytes | None = None,  # noqa: A002  the protocol's name
        content_type: str = "",
        key: str | None = None,
        ephemeral: bool = False,
        ttl: float | None = None,
        silent: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  covers reconnections
    ) -> Sent:
        """Send a message; when this returns it is stored durably, unless it is `ephemeral`.

        The body is exactly one of `json`, `text` and `bytes`. `key` makes a repeated call return
        the first one's result; without it a key is made here, which covers the repeats made here.
        `ttl` is in seconds. An ephemeral message is sent at most once and never repeated.
        """
        body: dict[str, Any] = {"to": _target(to)}
        body |= _content(json, text, bytes)
        if ephemeral:
            body["ephemeral"] = True
            if key is not None:
                body["key"] = key
        else:
            body["key"] = idempotency_key() if key is None else key
        if content_type:
            body["contentType"] = content_type
        if ttl is not None:
            body["ttlMs"] = round(ttl * 1000)
        if silent:
            body["silent"] = True
        if headers:
            body["headers"] = dict(headers)
        return Sent.from_wire(
            await self._link.request(
                "send", body, "sent", timeout=timeout, repeatable=not ephemeral
            )
        )

    async def ack(self, what: Update | str, seq: int | None = None) -> None:
        """Say that this device has everything up to `what`, or up to `seq` of a conversation.

        Needs the `device` given to `connect`.
        """
        await self._link.request("ack", _cursor(what, seq), "acked")

    async def read(self, what: Update | str, seq: int | None = None) -> None:
        """Say that the user has read everything up to `what`, or up to `seq` of a conversation."""
        await self._link.request("read", _cursor(what, seq), "acked")

    async def receipt_counts(
        self, what: Update | str | Group | Conversation, seq: int | None = None
    ) -> ReceiptCounts:
        """Return how many of the other members have a message, and how many have read it."""
        body = _of(what, seq)
        return ReceiptCounts.from_wire(await self._link.request("receipts", body, "receipts"))

    async def recall(
        self, what: Update | str, seq: int | None = None, *, key: str | None = None
    ) -> Sent:
        """Take a message's content away, for everybody: one's own, or any in a group one manages.

        Its number stays. Returns the event that tells of it.
        """
        body = {**_of(what, seq), "key": key or idempotency_key()}
        return Sent.from_wire(await self._link.request("recall", body, "sent"))

    async def edit(
        self,
        what: Update | str,
        seq: int | None = None,
        *,
        json: Any = _UNSET,
        text: str | None = None,
        bytes: bytes | None = None,  # noqa: A002  the protocol's name
        content_type: str = "",
        key: str | None = None,
    ) -> Sent:
        """Give one of one's own messages another body. Returns the event that tells of it."""
        body = {**_of(what, seq), "key": key or idempotency_key()}
        body |= _content(json, text, bytes)
        if content_type:
            body["contentType"] = content_type
        return Sent.from_wire(await self._link.request("edit", body, "sent"))

    async def react(
        self,
        what: Update | str,
        seq: int | None = None,
        *,
        reaction: str,
        remove: bool = False,
        key: str | None = None,
    ) -> Sent:
        """Add a reaction to a message, or take it back. Returns the event that tells of it."""
        body = {**_of(what, seq), "key": key or idempotency_key(), "reaction": reaction}
        if remove:
            body["remove"] = True
        return Sent.from_wire(await self._link.request("react", body, "sent"))

    async def history(
        self,
        conversation: str | Group | Conversation,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = 50,
    ) -> HistoryPage:
        """Return rows of a conversation: the latest, those before a seq, or those after one."""
        if before is not None and after is not None:
            raise ValueError("history goes before one seq or after one, not both")
        body: dict[str, Any] = {"conversation": _id(conversation), "limit": limit}
        if before is not None:
            body["before"] = before
        if after is not None:
            body["after"] = after
        return HistoryPage.from_wire(await self._link.request("history", body, "history"))

    async def conversations(self, *, after: str = "", limit: int = 50) -> ConversationsPage:
        """Return a page of the user's conversations, those behind `after`."""
        body: dict[str, Any] = {"limit": limit}
        if after:
            body["after"] = after
        return ConversationsPage.from_wire(
            await self._link.request("conversations", body, "conversations")
        )

    async def create_group(
        self,
        *,
        title: str = "",
        members: Iterable[str] = (),
        open: bool = False,  # noqa: A002  the protocol's name
        key: str | None = None,
    ) -> GroupChange:
        """Make a group with this user and `members`. `open`: anybody may join."""
        body: dict[str, Any] = {"key": key or idempotency_key(), "members": list(members)}
        if title:
            body["title"] = title
        if open:
            body["open"] = True
        return await self._change("create", body)

    async def join(self, group: str | Group, *, key: str | None = None) -> GroupChange:
        """Join an open group."""
        return await self._change("join", _keyed(group, key))

    async def leave(self, group: str | Group, *, key: str | None = None) -> GroupChange:
        """Leave a group."""
        return await self._change("leave", _keyed(group, key))

    async def add(
        self, group: str | Group, users: Iterable[str], *, key: str | None = None
    ) -> GroupChange:
        """Add users to a group."""
        return await self._change("add", {**_keyed(group, key), "users": list(users)})

    async def remove(
        self, group: str | Group, users: Iterable[str], *, key: str | None = None
    ) -> GroupChange:
        """Remove users from a group: what is sent afterwards does not reach them."""
        return await self._change("remove", {**_keyed(group, key), "users": list(users)})

    async def role(
        self, group: str | Group, users: Iterable[str], role: str, *, key: str | None = None
    ) -> GroupChange:
        """Make members ``admin`` or ``member``, or one of them the ``owner``; for the owner."""
        body = {**_keyed(group, key), "users": list(users), "role": role}
        return await self._change("role", body)

    async def mute(
        self, group: str | Group, users: Iterable[str], *, key: str | None = None
    ) -> GroupChange:
        """Take the right to write from members."""
        return await self._change("mute", {**_keyed(group, key), "users": list(users)})

    async def unmute(
        self, group: str | Group, users: Iterable[str], *, key: str | None = None
    ) -> GroupChange:
        """Give the right to write back."""
        return await self._change("unmute", {**_keyed(group, key), "users": list(users)})

    async def settings(
        self,
        group: str | Group,
        *,
        title: str | None = None,
        open: bool | None = None,  # noqa: A002  the protocol's name
        key: str | None = None,
    ) -> GroupChange:
        """Change a group's title, and whether anybody may join."""
        body = _keyed(group, key)
        if title is not None:
            body["title"] = title
        if open is not None:
            body["open"] = open
        return await self._change("settings", body)

    async def members(
        self, group: str | Group, *, after: str = "", limit: int = 100
    ) -> MembersPage:
        """Return a page of a group's members, those behind the user `after`."""
        body: dict[str, Any] = {"conversation": _id(group), "limit": limit}
        if after:
            body["after"] = after
        return MembersPage.from_wire(await self._link.request("group", {"members": body}, "group"))

    async def watch(self, users: Iterable[str]) -> None:
        """Watch who of these is there: `presence` tells of each now, and whenever it changes.

        Holds for the session: after a break it is to be said again, as `on_state` tells.
        """
        await self._presence({"subscribe": {"users": list(users)}})

    async def unwatch(self, users: Iterable[str]) -> None:
        """Watch these no more."""
        await self._presence({"unsubscribe": {"users": list(users)}})

    async def set_presence(self, status: str) -> None:
        """Say that this session is ``online`` or ``away``; others see the best of a user's."""
        await self._presence({"set": {"status": status}})

    async def _presence(self, body: dict[str, Any]) -> None:
        await self._link.request("presence", body, "presence")

    async def refresh(self, token: str | None = None) -> int:
        """Give the session a new token, by default from the callable given to `connect`.

        Returns when it expires, in ms since 1970. With a callable this happens by itself.
        """
        return await self._link.refresh(token)

    async def ping(self) -> float:
        """Return the round trip to the server in seconds."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        await self._link.request("ping", {}, "pong")
        return loop.time() - start

    async def _change(self, action: str, body: Mapping[str, Any]) -> GroupChange:
        return GroupChange.from_wire(await self._link.request("group", {action: body}, "group"))


def _id(conversation: str | Group | Conversation) -> str:
    return conversation if isinstance(conversation, str) else conversation.id


def _target(to: Target) -> dict[str, str]:
    if isinstance(to, Group):
        return {"group": to.id}
    if isinstance(to, Conversation):
        return {"conversation": to.id}
    return {"user": to}


def _content(json: Any, text: str | None, data: bytes | None) -> dict[str, Any]:
    contents: dict[str, Any] = {"text": text, "bytes": data}
    contents = {name: value for name, value in contents.items() if value is not None}
    if json is not _UNSET:
        contents["json"] = json
    if len(contents) != 1:
        raise ValueError("a message has exactly one of json, text and bytes")
    return contents


def _of(what: Update | str | Group | Conversation, seq: int | None) -> dict[str, Any]:
    """Name the message that something is done to or asked about."""
    if isinstance(what, (Group, Conversation)):
        what = what.id
    return _cursor(what, seq)


def _keyed(group: str | Group, key: str | None) -> dict[str, Any]:
    return {"conversation": _id(group), "key": key or idempotency_key()}


def _cursor(what: Update | str, seq: int | None) -> dict[str, Any]:
    if isinstance(what, str):
        if seq is None:
            raise ValueError("seq is missing")
        return {"conversation": what, "seq": seq}
    if not seq_of(what):
        raise ValueError("an ephemeral message has no seq")
    return {"conversation": what.conversation, "seq": seq_of(what)}
