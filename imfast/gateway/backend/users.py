"""Users: their tokens, sessions and unread messages, and what ends them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from msgspec import UNSET

from imfast.access.revocations import Change
from imfast.codes import Code
from imfast.definitions.backend import (
    CreateUser,
    Ended,
    OfSession,
    OfUser,
    Session,
    Sessions,
    Stats,
    Unread,
    UnreadOf,
    UserConversations,
    UserState,
    UserToken,
)
from imfast.definitions.conversations import Conversations
from imfast.errors import InvalidArgumentError, NotAllowedError
from imfast.gateway.access import SYSTEM
from imfast.gateway.backend.call import Call, decoded

__all__ = [
    "conversations",
    "create",
    "disable",
    "disconnect",
    "enable",
    "revoke",
    "sessions",
    "stats",
    "unread",
]

TTL_MS = 86_400_000
"""Of a token whose time is not named: a day."""


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)


async def create(call: Call) -> bytes:
    """A token for a user."""
    asked = decoded(call.body, CreateUser)
    if asked.user == SYSTEM:
        raise InvalidArgumentError(f"user: {SYSTEM!r} is the server itself")
    setting = call.setting
    if setting.revocations.is_disabled(call.tenant, asked.user):
        raise NotAllowedError("the user is disabled; users/enable lets it in again")
    if setting.sign is None:
        return _encoded(UserToken(user=asked.user))
    # A token tells the second of its issue: within the one in which all were called back there
    # is none that would count.
    not_before_s = setting.revocations.not_before_s(call.tenant, asked.user)
    if (wait_s := not_before_s - time.time()) > 0:
        # A timer counts milliseconds, and may end one too early.
        await asyncio.sleep(wait_s + 0.005)
    ttl_ms = asked.ttl_ms if asked.ttl_ms is not UNSET else TTL_MS
    now_s = time.time()
    token = setting.sign(asked.user, call.tenant, ttl_ms / 1000)
    expires_at_ms = int(now_s + ttl_ms / 1000) * 1000
    return _encoded(UserToken(user=asked.user, token=token, expires_at_ms=expires_at_ms))


async def disable(call: Call) -> bytes:
    """Lets a user in no more."""
    user = decoded(call.body, OfUser).user
    await call.setting.node.change(
        Change(tenant=call.tenant, user=user, disabled=True, before_s=int(time.time()) + 1)
    )
    await _disconnect(call, user, Code.TOKEN_REVOKED)
    return _encoded(UserState(user=user, disabled=True))


async def enable(call: Call) -> bytes:
    """Lets a user in again, with new tokens: those of before the disabling stay called back."""
    user = decoded(call.body, OfUser).user
    await call.setting.node.change(Change(tenant=call.tenant, user=user, disabled=False))
    return _encoded(UserState(user=user))


async def revoke(call: Call) -> bytes:
    """Calls back a user's tokens, or the one that a session stands on."""
    asked = decoded(call.body, OfSession)
    node = call.setting.node
    if asked.session is UNSET:
        before_s = int(time.time()) + 1
        await node.change(Change(tenant=call.tenant, user=asked.user, before_s=before_s))
        ended = await _disconnect(call, asked.user, Code.TOKEN_REVOKED)
        return _encoded(Ended(user=asked.user, sessions=ended))
    found = [one for one in await _sessions(call, asked.user) if one[0] == asked.session]
    ended = 0
    for *_, credential in found:
        if credential:
            await node.change(Change(credential=credential))
            ended += await _disconnect(call, asked.user, Code.TOKEN_REVOKED, credential=credential)
    return _encoded(Ended(user=asked.user, sessions=ended))


async def disconnect(call: Call) -> bytes:
    """Ends sessions whose clients may come back."""
    asked = decoded(call.body, OfSession)
    session = asked.session if asked.session is not UNSET else None
    ended = await _disconnect(call, asked.user, Code.DISCONNECTED, session=session)
    return _encoded(Ended(user=asked.user, sessions=ended))


async def sessions(call: Call) -> bytes:
    """Those of a user on all workers."""
    user = decoded(call.body, OfUser).user
    found = [
        Session(session=session, device=device, transport=transport)
        for session, device, transport, _ in await _sessions(call, user)
    ]
    found.sort(key=lambda one: one.session)
    return _encoded(Sessions(user=user, sessions=found))


async def conversations(call: Call) -> bytes:
    """A page of a user's conversations."""
    asked = decoded(call.body, UserConversations)
    fields = {"after": asked.after, "limit": asked.limit}
    return await call.do(asked.user, "conversations", fields)


async def unread(call: Call) -> bytes:
    """What a user has not read, of all its conversations."""
    user = decoded(call.body, OfUser).user
    found: list[UnreadOf] = []
    after = ""
    while True:
        fields = {"after": after, "limit": call.setting.page_items_max}
        answer = await call.do(user, "conversations", fields)
        page = msgspec.json.decode(answer, type=Conversations)
        found += [
            UnreadOf(conversation=one.conversation, unread=one.unread)
            for one in page.items
            if one.unread
        ]
        if not page.more or not page.items:
            break
        after = page.items[-1].conversation
    total = sum(one.unread for one in found)
    return _encoded(Unread(user=user, unread=total, conversations=found))


async def stats(call: Call) -> bytes:
    """Sums over the workers."""
    counters: dict[str, int] = {}
    answers = await call.setting.node.ask({"stats": True})
    for answer in answers:
        for name, value in answer.items():
            counters[name] = counters.get(name, 0) + value
    return _encoded(Stats(workers=len(answers), counters=counters))


async def _sessions(call: Call, user: str) -> list[tuple[str, str, str, int]]:
    answers = await call.setting.node.ask({"sessions": [call.tenant, user]})
    return [tuple(one) for answer in answers for one in answer]


async def _disconnect(
    call: Call, user: str, code: Code, *, session: str | None = None, credential: int = 0
) -> int:
    question = {"disconnect": [call.tenant, user, int(code), session, credential]}
    return sum(await call.setting.node.ask(question))
