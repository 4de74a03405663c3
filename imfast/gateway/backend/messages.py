"""Sending: one message, a batch, a broadcast. Bodies are handed on as the bytes that came."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import msgspec
import orjson
from msgspec import UNSET, UnsetType

from imfast.codes import CODES
from imfast.definitions.backend import (
    BATCH_MAX,
    BatchAnswer,
    BatchItem,
    BroadcastTarget,
    CreateList,
    Failure,
)
from imfast.definitions.conversations import GroupAnswer, Sent
from imfast.definitions.fields import Identifier, Wire
from imfast.errors import InvalidArgumentError
from imfast.gateway.acts import Done
from imfast.gateway.backend.call import Call, checked, decoded

__all__ = ["batch", "broadcast", "create_list", "send"]

SLICE = 64
"""Messages of a batch that are begun at a time."""

EVERYBODY = "b.all"
"""The conversation of everybody in a tenant."""


class _Head(Wire):
    """What is looked at here of a message; the engine checks the rest."""

    from_: Identifier | UnsetType = UNSET
    key: str | UnsetType = UNSET


class _Items(Wire):
    items: list[msgspec.Raw]


class _Broadcast(Wire):
    to: BroadcastTarget
    key: str | UnsetType = UNSET
    ephemeral: bool | UnsetType = UNSET


async def send(call: Call) -> bytes:
    """As a user or as the system."""
    head = decoded(call.body, _Head)
    key = call.keyed(head.key)
    body = call.body if key == head.key else _with(call.body, b"key", key)
    return checked(await call.begin(head.from_ or None, "send", body))


async def batch(call: Call) -> bytes:
    """Every message by itself, in order; the answers as they stand."""
    items = decoded(call.body, _Items).items
    if not 1 <= len(items) <= BATCH_MAX:
        raise InvalidArgumentError(f"items: 1 to {BATCH_MAX}, not {len(items)}")
    begun = []
    for index, item in enumerate(items):
        try:
            head = decoded(bytes(item), _Head)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"items[{index}]: {error}") from None
        body = bytes(item)
        if call.idempotency_key and not head.key:
            body = _with(body, b"key", f"{call.idempotency_key}.{index}")
        begun.append((head.from_ or None, body))
    # Only now: a batch that is malformed sends nothing.
    waiting = []
    for index, (user, body) in enumerate(begun):
        if index % SLICE == SLICE - 1:
            await asyncio.sleep(0)  # whoever is on the loop besides waits no longer than for these
        waiting.append(call.begin(user, "send", body))
    results = [_item(await answer) for answer in waiting]
    return msgspec.json.encode(BatchAnswer(items=results))


async def broadcast(call: Call) -> bytes:
    """One row in one conversation: everybody's, or that of a list."""
    asked = decoded(call.body, _Broadcast)
    if asked.ephemeral:
        raise InvalidArgumentError("ephemeral: a broadcast is stored")
    target = asked.to
    named = [target.all or UNSET, target.list, target.users]
    if sum(one is not UNSET for one in named) != 1:
        raise InvalidArgumentError("to: one of all, list, users is needed")
    if target.all:
        conversation = EVERYBODY
    elif target.list is not UNSET:
        conversation = str(target.list)
        if not conversation.startswith("b."):
            raise InvalidArgumentError("to.list: the id of a list, as lists/create gave it")
    else:
        conversation = await _list_of(call, target.users or [])
    body = _with(call.body, b"to", {"conversation": conversation})
    key = call.keyed(asked.key)
    if key != asked.key:
        body = _with(body, b"key", key)
    return checked(await call.begin(None, "send", body))


async def create_list(call: Call) -> bytes:
    """Users to whom the system speaks."""
    asked = decoded(call.body, CreateList)
    fields = {"key": asked.key, "members": asked.users}
    if asked.title:
        fields["title"] = asked.title
    return await call.do(None, "group", {"create": fields})


async def _list_of(call: Call, users: list[str]) -> str:
    """The list of exactly these users: the same each time, like a conversation of two."""
    members = sorted(set(users))
    key = "users." + sha256("\0".join(members).encode()).hexdigest()
    answer = await call.do(None, "group", {"create": {"key": key, "members": members}})
    return msgspec.json.decode(answer, type=GroupAnswer).conversation


def _item(done: Done) -> BatchItem:
    if done.code is None:
        return BatchItem(sent=msgspec.json.decode(done.content, type=Sent))
    info = CODES[done.code]
    failure = Failure(
        code=int(done.code),
        name=info.name,
        message=done.content.decode(errors="replace") or info.message,
        retryable=info.retryable,
        retry_after_ms=done.retry_after_ms,
    )
    return BatchItem(error=failure)


def _with(body: bytes, name: bytes, value: object) -> bytes:
    """The same object with one field more, or another value of it.

    The other fields stay as their text was: a body keeps its digits.
    """
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields[name.decode()] = msgspec.Raw(orjson.dumps(value))
    return msgspec.json.encode(fields)
