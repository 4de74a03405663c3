"""Every request and the type of its answer, without a network: both clients are made of these."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET

from imfast.definitions import backend
from imfast.definitions.conversations import Conversations, GroupAnswer, History, Sent
from imfast.definitions.fields import Empty, Wire
from imfast.definitions.verbs import Target

__all__ = ["Asked", "To"]

Answer = TypeVar("Answer", bound=Wire)

To = str | Target
"""A user's id, or where else a message goes."""


@dataclass(frozen=True, slots=True)
class Asked(Generic[Answer]):
    """One request."""

    path: str
    body: Wire
    answer: type[Answer]

    def content(self) -> bytes:
        """The body as JSON."""
        return msgspec.json.encode(self.body)

    def read(self, content: bytes) -> Answer:
        """The answer from its JSON."""
        return msgspec.json.decode(content, type=self.answer)


def _key(key: str | None) -> str:
    # Made here so that a repetition after a broken connection is one.
    return key if key is not None else uuid.uuid4().hex


def _maybe(value: Any) -> Any:
    return UNSET if value is None else value


def message(
    to: To,
    *,
    text: str | None = None,
    json: Any = UNSET,
    sender: str | None = None,
    key: str | None = None,
    ttl_ms: int | None = None,
    headers: dict[str, str] | None = None,
    silent: bool | None = None,
    ephemeral: bool | None = None,
) -> backend.SendAs:
    """A message for `send` or `send_batch`. Without `sender` the system says it."""
    return backend.SendAs(
        to=Target(user=to) if isinstance(to, str) else to,
        text=_maybe(text),
        json=json,
        from_=_maybe(sender),
        key=_key(key),
        ttl_ms=_maybe(ttl_ms),
        headers=_maybe(headers),
        silent=_maybe(silent),
        ephemeral=_maybe(ephemeral),
    )


def send(sent: backend.SendAs) -> Asked[Sent]:
    return Asked("send", sent, Sent)


def send_batch(messages: Sequence[backend.SendAs]) -> Asked[backend.BatchAnswer]:
    return Asked("batch", backend.Batch(items=list(messages)), backend.BatchAnswer)


def broadcast(
    to: backend.BroadcastTarget, *, text: str | None, json: Any, key: str | None
) -> Asked[Sent]:
    said = backend.Broadcast(to=to, text=_maybe(text), json=json, key=_key(key))
    return Asked("broadcast", said, Sent)


def create_list(key: str, users: Sequence[str], title: str | None) -> Asked[GroupAnswer]:
    body = backend.CreateList(key=key, users=list(users), title=_maybe(title))
    return Asked("lists/create", body, GroupAnswer)


def create_group(
    owner: str, key: str, members: Sequence[str], title: str | None, open_to_all: bool
) -> Asked[GroupAnswer]:
    body = backend.CreateGroup(
        owner=owner,
        key=key,
        members=list(members) or UNSET,
        title=_maybe(title),
        open=open_to_all or UNSET,
    )
    return Asked("groups/create", body, GroupAnswer)


def change_members(
    path: str, conversation: str, users: Sequence[str], by: str | None, key: str | None
) -> Asked[GroupAnswer]:
    body = backend.ChangeMembers(
        conversation=conversation, users=list(users), by=_maybe(by), key=_key(key)
    )
    return Asked(path, body, GroupAnswer)


def change_own(path: str, conversation: str, user: str, key: str | None) -> Asked[GroupAnswer]:
    body = backend.ChangeOwn(conversation=conversation, user=user, key=_key(key))
    return Asked(path, body, GroupAnswer)


def members(conversation: str, after: str | None, limit: int | None) -> Asked[GroupAnswer]:
    body = backend.ListMembers(conversation=conversation, after=_maybe(after), limit=_maybe(limit))
    return Asked("groups/members", body, GroupAnswer)


def history(
    conversation: str, before: int | None, after: int | None, limit: int | None, by: str | None
) -> Asked[History]:
    body = backend.ReadHistory(
        conversation=conversation,
        before=_maybe(before),
        after=_maybe(after),
        limit=_maybe(limit),
        by=_maybe(by),
    )
    return Asked("history", body, History)


def create_user(user: str, ttl_s: float | None) -> Asked[backend.UserToken]:
    ttl_ms = UNSET if ttl_s is None else round(ttl_s * 1000)
    body = backend.CreateUser(user=user, ttl_ms=ttl_ms)
    return Asked("users/create", body, backend.UserToken)


def set_disabled(user: str, disabled: bool) -> Asked[backend.UserState]:
    path = "users/disable" if disabled else "users/enable"
    return Asked(path, backend.OfUser(user=user), backend.UserState)


def end(path: str, user: str, session: str | None) -> Asked[backend.Ended]:
    return Asked(path, backend.OfSession(user=user, session=_maybe(session)), backend.Ended)


def sessions(user: str) -> Asked[backend.Sessions]:
    return Asked("users/sessions", backend.OfUser(user=user), backend.Sessions)


def conversations(user: str, after: str | None, limit: int | None) -> Asked[Conversations]:
    body = backend.UserConversations(user=user, after=_maybe(after), limit=_maybe(limit))
    return Asked("users/conversations", body, Conversations)


def unread(user: str) -> Asked[backend.Unread]:
    return Asked("users/unread", backend.OfUser(user=user), backend.Unread)


def stats() -> Asked[backend.Stats]:
    return Asked("stats", Empty(), backend.Stats)


def everybody(
    to_all: bool, to_list: str | None, users: Sequence[str] | None
) -> backend.BroadcastTarget:
    """Whom a broadcast is for."""
    return backend.BroadcastTarget(
        all=to_all or UNSET, list=_maybe(to_list), users=UNSET if users is None else list(users)
    )
