"""The verbs that clients have over HTTP.

The engine decodes them itself, in Rust; that the two agree is for the tests to see.
"""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from imfast.definitions.fields import Body, Identifier, Key, Limit, Names, Seq, Title, Wire

__all__ = [
    "Add",
    "ConversationsRequest",
    "Create",
    "Cursor",
    "Group",
    "HistoryRequest",
    "JoinOrLeave",
    "MembersRequest",
    "Pong",
    "Send",
    "Target",
    "Ticket",
]


class Target(Wire):
    """Where a message goes: exactly one of the three."""

    user: Identifier | UnsetType = UNSET
    group: Identifier | UnsetType = UNSET
    conversation: Identifier | UnsetType = UNSET


class Send(Body, kw_only=True):
    """A message to somebody."""

    to: Target


class Cursor(Wire):
    """Everything up to here."""

    conversation: Identifier
    seq: Seq = 0


class HistoryRequest(Wire):
    """A page below `before`, above `after`, or of the newest."""

    conversation: Identifier
    before: Seq | UnsetType = UNSET
    after: Seq | UnsetType = UNSET
    limit: Limit | UnsetType = UNSET


class ConversationsRequest(Wire):
    """A page of the user's conversations behind `after`."""

    after: str | UnsetType = UNSET
    limit: Limit | UnsetType = UNSET


class Create(Wire):
    """A new group; the same one for the same key."""

    key: Key
    title: Title | UnsetType = UNSET
    members: list[Identifier] | UnsetType = UNSET
    open: bool | UnsetType = UNSET


class JoinOrLeave(Wire):
    """The user itself comes or goes."""

    conversation: Identifier
    key: Key | UnsetType = UNSET


class Add(Wire):
    """Others come or go."""

    conversation: Identifier
    users: Names
    key: Key | UnsetType = UNSET


class MembersRequest(Wire):
    """A page of a group's members behind `after`."""

    conversation: Identifier
    after: str | UnsetType = UNSET
    limit: Limit | UnsetType = UNSET


class Group(Wire):
    """Exactly one of these."""

    create: Create | UnsetType = UNSET
    join: JoinOrLeave | UnsetType = UNSET
    leave: JoinOrLeave | UnsetType = UNSET
    add: Add | UnsetType = UNSET
    remove: Add | UnsetType = UNSET
    members: MembersRequest | UnsetType = UNSET


class Pong(Wire):
    """The server's clock."""

    server_time_ms: int


class Ticket(Wire):
    """What opens one session in the place of a token."""

    ticket: str
    expires_in_ms: int
