"""Groups and histories, as a user or past everybody's rights."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from imfast.definitions.backend import (
    ChangeMembers,
    ChangeOwn,
    CreateGroup,
    ListMembers,
    ReadHistory,
)
from imfast.errors import InvalidArgumentError
from imfast.gateway.backend.call import Call, decoded

__all__ = [
    "add",
    "create",
    "history",
    "join",
    "leave",
    "list_add",
    "list_remove",
    "members",
    "remove",
]


async def create(call: Call) -> bytes:
    """A group of a user."""
    asked = decoded(call.body, CreateGroup)
    fields = {
        "key": asked.key,
        "title": asked.title,
        "members": asked.members,
        "open": asked.open,
    }
    return await call.do(asked.owner, "group", {"create": _present(fields)})


async def add(call: Call) -> bytes:
    """Users come."""
    return await _change(call, "add", "")


async def remove(call: Call) -> bytes:
    """Users go."""
    return await _change(call, "remove", "")


async def list_add(call: Call) -> bytes:
    """Users come to a list."""
    return await _change(call, "add", "b.")


async def list_remove(call: Call) -> bytes:
    """Users go from a list."""
    return await _change(call, "remove", "b.")


async def _change(call: Call, action: str, prefix: str) -> bytes:
    asked = decoded(call.body, ChangeMembers)
    if asked.conversation.startswith("b.") != bool(prefix):
        what = "a list" if prefix else "a group"
        raise InvalidArgumentError(f"conversation: the id of {what} is needed")
    fields = {
        "conversation": asked.conversation,
        "users": asked.users,
        "key": call.keyed(asked.key),
    }
    return await call.do(asked.by or None, "group", {action: _present(fields)})


async def join(call: Call) -> bytes:
    """A user comes by itself."""
    return await _own(call, "join")


async def leave(call: Call) -> bytes:
    """A user goes by itself."""
    return await _own(call, "leave")


async def _own(call: Call, action: str) -> bytes:
    asked = decoded(call.body, ChangeOwn)
    fields = {"conversation": asked.conversation, "key": call.keyed(asked.key)}
    return await call.do(asked.user, "group", {action: _present(fields)})


async def members(call: Call) -> bytes:
    """A page of who is in."""
    asked = decoded(call.body, ListMembers)
    fields = {"conversation": asked.conversation, "after": asked.after, "limit": asked.limit}
    return await call.do(None, "group", {"members": _present(fields)})


async def history(call: Call) -> bytes:
    """A page of any conversation."""
    asked = decoded(call.body, ReadHistory)
    fields = {
        "conversation": asked.conversation,
        "before": asked.before,
        "after": asked.after,
        "limit": asked.limit,
    }
    return await call.do(asked.by or None, "history", fields)


def _present(fields: dict[str, Any]) -> dict[str, Any]:

    return {name: value for name, value in fields.items() if value is not UNSET}
