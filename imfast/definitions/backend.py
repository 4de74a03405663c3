"""The server API: what a backend asks with a key, `POST /v1/server/…`."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType, field

from imfast.definitions.conversations import Sent
from imfast.definitions.fields import Body, Identifier, Key, Limit, Names, Seq, Title, Wire
from imfast.definitions.verbs import Target

__all__ = [
    "BATCH_MAX",
    "Batch",
    "BatchAnswer",
    "BatchItem",
    "Broadcast",
    "BroadcastTarget",
    "ChangeMembers",
    "ChangeOwn",
    "CreateGroup",
    "CreateList",
    "CreateUser",
    "Ended",
    "Failure",
    "ListMembers",
    "OfSession",
    "OfUser",
    "ReadHistory",
    "SendAs",
    "Session",
    "Sessions",
    "Stats",
    "Unread",
    "UnreadOf",
    "UserConversations",
    "UserState",
    "UserToken",
]

BATCH_MAX = 500
"""Messages of one batch."""


class SendAs(Body, kw_only=True):
    """A message of a user, or, without `from`, of the system."""

    to: Target
    from_: Identifier | UnsetType = UNSET


class Batch(Wire):
    """Messages, each by itself: one that is refused does not stop the others."""

    items: Annotated[list[SendAs], Meta(min_length=1, max_length=BATCH_MAX)]


class Failure(Wire):
    """Why one message of a batch was not sent."""

    code: int
    name: str
    message: str
    retryable: bool = False
    retry_after_ms: int = 0


class BatchItem(Wire):
    """What came of one message: one of the two."""

    sent: Sent | None = None
    error: Failure | None = None


class BatchAnswer(Wire):
    """In the order of the request's items."""

    items: list[BatchItem]


class BroadcastTarget(Wire):
    """Exactly one: everybody of the tenant, a list that was made, or these users."""

    all: bool | UnsetType = UNSET
    list: Identifier | UnsetType = UNSET
    users: Names | UnsetType = UNSET


class Broadcast(Body, kw_only=True):
    """One message of the system, stored once, to many. It is never ephemeral."""

    to: BroadcastTarget


class CreateList(Wire):
    """Users to whom the system speaks; the same list for the same key."""

    key: Annotated[str, Meta(min_length=1, max_length=128)]
    users: Names
    title: Title | UnsetType = UNSET


class CreateGroup(Wire):
    """A group of `owner`; the same one for the same owner and key."""

    owner: Identifier
    key: Annotated[str, Meta(min_length=1, max_length=128)]
    title: Title | UnsetType = UNSET
    members: list[Identifier] | UnsetType = UNSET
    open: bool | UnsetType = UNSET


class ChangeMembers(Wire):
    """Users come or go; without `by`, the system does it, whatever its standing."""

    conversation: Identifier
    users: Names
    key: Key | UnsetType = UNSET
    by: Identifier | UnsetType = UNSET


class ChangeOwn(Wire):
    """A user comes or goes by itself."""

    conversation: Identifier
    user: Identifier
    key: Key | UnsetType = UNSET


class ListMembers(Wire):
    """A page of the members behind `after`."""

    conversation: Identifier
    after: str | UnsetType = UNSET
    limit: Limit | UnsetType = UNSET


class ReadHistory(Wire):
    """A page of a conversation: all of it, or what the user `by` may see."""

    conversation: Identifier
    before: Seq | UnsetType = UNSET
    after: Seq | UnsetType = UNSET
    limit: Limit | UnsetType = UNSET
    by: Identifier | UnsetType = UNSET


class OfUser(Wire):
    """Which user."""

    user: Identifier


class CreateUser(Wire):
    """A user who is to have a token. Ask again for another token."""

    user: Identifier
    ttl_ms: Annotated[int, Meta(ge=1000, le=31_622_400_000)] | UnsetType = UNSET


class UserToken(Wire):
    """Without a token where this server has only the public key of those that make them."""

    user: str
    token: str = ""
    expires_at_ms: int = 0


class UserState(Wire):
    """A user as the server lets it in, or not."""

    user: str
    disabled: bool = False


class OfSession(Wire):
    """All sessions of a user, or one."""

    user: Identifier
    session: Identifier | UnsetType = UNSET


class Ended(Wire):
    """How many sessions ended."""

    user: str
    sessions: int = 0


class Session(Wire):
    """One session that stands now."""

    session: str
    device: str
    transport: str


class Sessions(Wire):
    """Those of a user, on all workers."""

    user: str
    sessions: list[Session] = field(default_factory=list)


class UserConversations(Wire):
    """A page of a user's conversations behind `after`."""

    user: Identifier
    after: str | UnsetType = UNSET
    limit: Limit | UnsetType = UNSET


class UnreadOf(Wire):
    """Unread messages of one conversation."""

    conversation: str
    unread: int


class Unread(Wire):
    """A user's unread messages: altogether, and where."""

    user: str
    unread: int = 0
    conversations: list[UnreadOf] = field(default_factory=list)


class Stats(Wire):
    """Sums over the workers: what is now, and counters since their starts."""

    workers: int
    counters: dict[str, int]
