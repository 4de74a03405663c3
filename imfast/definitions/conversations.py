"""Messages, events and pages of them, as answers hold them."""

from __future__ import annotations

from typing import Any

from msgspec import field

from imfast.definitions.fields import Wire

__all__ = [
    "Conversations",
    "Event",
    "GroupAnswer",
    "History",
    "Item",
    "Member",
    "Message",
    "Sent",
    "Summary",
]


class Sent(Wire):
    """A message that is durable, or an ephemeral one that was passed on."""

    conversation: str
    seq: int = 0
    message_id: str = ""
    position: str = ""
    timestamp_ms: int = 0
    duplicate: bool = False


class Message(Wire):
    """One message. Without a body it is a tombstone."""

    conversation: str
    seq: int = 0
    message_id: str = ""
    from_: str = ""
    timestamp_ms: int = 0
    text: str | None = None
    json: Any = None
    base64: str | None = None
    content_type: str = ""
    ttl_ms: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    ephemeral: bool = False


class Event(Wire):
    """One change of a conversation."""

    conversation: str
    seq: int
    message_id: str = ""
    type: str = ""
    user: str = ""
    users: list[str] = field(default_factory=list)
    by: str = ""
    timestamp_ms: int = 0
    title: str = ""


class Item(Wire):
    """A message or an event."""

    message: Message | None = None
    event: Event | None = None


class History(Wire):
    """A page of a conversation, in the order of its seqs."""

    items: list[Item] = field(default_factory=list)
    more: bool = False


class Summary(Wire):
    """One conversation of a user."""

    conversation: str
    kind: str
    title: str = ""
    peer: str = ""
    seq: int = 0
    joined_seq: int = 0
    read_seq: int = 0
    acked_seq: int = 0
    unread: int = 0
    last: Item | None = None


class Conversations(Wire):
    """A page of a user's conversations, in the order of their ids."""

    items: list[Summary] = field(default_factory=list)
    more: bool = False


class Member(Wire):
    """Somebody who is in a group."""

    user: str
    role: str = ""
    joined_seq: int = 0


class GroupAnswer(Wire):
    """A group after a change, or a page of its members."""

    conversation: str
    seq: int = 0
    members: list[Member] = field(default_factory=list)
    more: bool = False
