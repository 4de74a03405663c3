"""What the client takes and gives: plain immutable values.

``from_wire`` builds a value from a decoded frame body: a dict with the names of the JSON encoding,
whichever encoding carried it (see ``codec``). A missing field has its zero, as in protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NewType

from .errors import ProtocolError

__all__ = [
    "Body",
    "Connected",
    "Conversation",
    "ConversationsPage",
    "Event",
    "Expired",
    "Group",
    "GroupChange",
    "HistoryPage",
    "Member",
    "MembersPage",
    "Message",
    "Presence",
    "Receipt",
    "ReceiptCounts",
    "Sent",
    "Summary",
    "Sync",
    "Update",
    "item_from_wire",
]

Body = NewType("Body", dict[str, Any])
"""The body of a frame, decoded."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group, as the target of a send: ``Group("g.…")``."""

    id: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Any conversation by its id, as the target of a send."""

    id: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a conversation.

    ``seq`` and ``message_id`` are 0 for an ephemeral message. The body is in one of ``json``,
    ``text`` and ``bytes``; in none if it was recalled or has expired. ``edited_seq`` is the seq of
    the latest edit, 0 without one.
    """

    conversation: str
    seq: int
    message_id: int
    sender: str
    timestamp_ms: int
    json: Any = None
    text: str | None = None
    bytes: bytes | None = None
    content_type: str = ""
    ttl_ms: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False
    ephemeral: bool = False
    edited_seq: int = 0
    has_body: bool = True

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Message:
        return cls(
            conversation=_string(body, "conversation"),
            seq=_integer(body, "seq"),
            message_id=_integer(body, "messageId"),
            sender=_string(body, "from"),
            timestamp_ms=_integer(body, "timestampMs"),
            json=body.get("json"),
            text=body.get("text"),
            bytes=body.get("bytes"),
            content_type=_string(body, "contentType"),
            ttl_ms=_integer(body, "ttlMs"),
            headers=body.get("headers", {}),
            silent=bool(body.get("silent", False)),
            ephemeral=bool(body.get("ephemeral", False)),
            edited_seq=_integer(body, "editedSeq"),
            has_body=not body.keys().isdisjoint(("json", "text", "bytes")),
        )


@dataclass(frozen=True, slots=True)
class Event:
    """A numbered change of a conversation.

    ``type`` is ``created``, ``joined``, ``left``, ``removed``, ``role`` (the users are ``role``
    now), ``muted``, ``unmuted``, ``settings`` (``title`` and ``open`` are these now), and of the
    message ``ref_seq`` ``recalled``, ``edited`` (to the body) or ``reacted``. A later server may
    send others.
    """

    conversation: str
    seq: int
    message_id: int
    type: str
    users: tuple[str, ...]
    by: str
    timestamp_ms: int
    title: str = ""
    open: bool = False
    role: str = ""
    ref_seq: int = 0
    json: Any = None
    text: str | None = None
    bytes: bytes | None = None
    content_type: str = ""
    reaction: str = ""
    withdrawn: bool = False
    expires_ms: int = 0

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Event:
        users = body.get("users")
        if users is None:
            # JSON writes a change of one user as `user`.
            users = [body["user"]] if "user" in body else []
        return cls(
            conversation=_string(body, "conversation"),
            seq=_integer(body, "seq"),
            message_id=_integer(body, "messageId"),
            type=_string(body, "type"),
            users=tuple(users),
            by=_string(body, "by"),
            timestamp_ms=_integer(body, "timestampMs"),
            title=_string(body, "title"),
            open=bool(body.get("open", False)),
            role=_string(body, "role"),
            ref_seq=_integer(body, "refSeq"),
            json=body.get("json"),
            text=body.get("text"),
            bytes=body.get("bytes"),
            content_type=_string(body, "contentType"),
            reaction=_string(body, "reaction"),
            withdrawn=bool(body.get("withdrawn", False)),
            expires_ms=_integer(body, "expiresMs"),
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """How far `user` has come in a conversation: what a device has, what the user has read.

    A receipt of this user is about his other devices.
    """

    conversation: str
    user: str
    delivered_seq: int
    read_seq: int

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Receipt:
        return cls(
            _string(body, "conversation"),
            _string(body, "user"),
            _integer(body, "deliveredSeq"),
            _integer(body, "readSeq"),
        )


@dataclass(frozen=True, slots=True)
class ReceiptCounts:
    """How many of the other members that a message went to have it, and have read it."""

    conversation: str
    seq: int
    delivered: int
    read: int
    members: int

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> ReceiptCounts:
        return cls(
            _string(body, "conversation"),
            _integer(body, "seq"),
            _integer(body, "delivered"),
            _integer(body, "read"),
            _integer(body, "members"),
        )


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether somebody is ``online``, ``away`` or ``offline``, and since when if he is not there.

    ``last_seen_ms`` is 0 while the user is online, or where it is not known.
    """

    user: str
    status: str
    last_seen_ms: int = 0

    @classmethod
    def list_from_wire(cls, body: Mapping[str, Any]) -> tuple[Presence, ...]:
        return tuple(
            cls(_string(one, "user"), _string(one, "status"), _integer(one, "lastSeenMs"))
            for one in body.get("items", ())
        )


@dataclass(frozen=True, slots=True)
class Expired:
    """Rows ``from_seq`` to ``to_seq`` existed and are no longer kept."""

    conversation: str
    from_seq: int
    to_seq: int

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Expired:
        return cls(
            _string(body, "conversation"), _integer(body, "fromSeq"), _integer(body, "toSeq")
        )


Update = Message | Event | Expired


@dataclass(frozen=True, slots=True)
class Sent:
    """The server's word that a message is stored, or, with seq 0, that it was ephemeral.

    ``position`` names the place in the log as ``"<partition>-<index>"``. ``duplicate`` says that
    this is the first result of an earlier send with the same key.
    """

    conversation: str
    seq: int
    message_id: int
    position: str
    timestamp_ms: int
    duplicate: bool = False

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Sent:
        return cls(
            conversation=_string(body, "conversation"),
            seq=_integer(body, "seq"),
            message_id=_integer(body, "messageId"),
            position=_string(body, "position"),
            timestamp_ms=_integer(body, "timestampMs"),
            duplicate=bool(body.get("duplicate", False)),
        )


@dataclass(frozen=True, slots=True)
class Connected:
    """The server's greeting. Limits are 0 where the server names none."""

    user: str
    session: str
    server: str
    heartbeat_ms: int
    server_time_ms: int
    frame_bytes_max: int = 0
    body_bytes_max: int = 0

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Connected:
        limits = body.get("limits", {})
        return cls(
            user=_string(body, "user"),
            session=_string(body, "session"),
            server=_string(body, "server"),
            heartbeat_ms=_integer(body, "heartbeatMs"),
            server_time_ms=_integer(body, "serverTimeMs"),
            frame_bytes_max=_integer(limits, "frameBytes"),
            body_bytes_max=_integer(limits, "bodyBytes"),
        )


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Rows of one conversation in seq order; ``more`` says that the range goes on."""

    items: tuple[Update, ...]
    more: bool

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> HistoryPage:
        items = tuple(item for item in map(item_from_wire, body.get("items", ())) if item)
        return cls(items, bool(body.get("more", False)))


@dataclass(frozen=True, slots=True)
class Summary:
    """A line of the conversation list. ``kind`` is ``direct`` or ``group``."""

    conversation: str
    kind: str
    title: str
    peer: str
    seq: int
    joined_seq: int
    read_seq: int
    acked_seq: int
    unread: int
    last: Update | None

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Summary:
        return cls(
            conversation=_string(body, "conversation"),
            kind=_string(body, "kind"),
            title=_string(body, "title"),
            peer=_string(body, "peer"),
            seq=_integer(body, "seq"),
            joined_seq=_integer(body, "joinedSeq"),
            read_seq=_integer(body, "readSeq"),
            acked_seq=_integer(body, "ackedSeq"),
            unread=_integer(body, "unread"),
            last=item_from_wire(body["last"]) if body.get("last") else None,
        )


@dataclass(frozen=True, slots=True)
class ConversationsPage:
    """A page of the user's conversations."""

    items: tuple[Summary, ...]
    more: bool

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> ConversationsPage:
        return cls(
            tuple(map(Summary.from_wire, body.get("items", ()))), bool(body.get("more", False))
        )


@dataclass(frozen=True, slots=True)
class GroupChange:
    """The outcome of a change of a group: its event's seq."""

    conversation: str
    seq: int

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> GroupChange:
        return cls(_string(body, "conversation"), _integer(body, "seq"))


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group."""

    user: str
    role: str
    joined_seq: int


@dataclass(frozen=True, slots=True)
class MembersPage:
    """A page of a group's members."""

    conversation: str
    members: tuple[Member, ...]
    more: bool

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> MembersPage:
        members = tuple(
            Member(_string(one, "user"), _string(one, "role"), _integer(one, "joinedSeq"))
            for one in body.get("members", ())
        )
        return cls(_string(body, "conversation"), members, bool(body.get("more", False)))


@dataclass(frozen=True, slots=True)
class Sync:
    """Where an application has got to: keep it to come back without loss and without repeats.

    ``token`` is the server's; ``heads`` is the last seq applied per conversation, which is what
    removes repeats when the server cannot use the token any more.
    """

    token: str = ""
    heads: Mapping[str, int] = field(default_factory=dict)


def item_from_wire(body: Mapping[str, Any]) -> Update | None:
    """Read a history item, or None if it is of a kind this version does not know."""
    if "message" in body:
        return Message.from_wire(body["message"])
    if "event" in body:
        return Event.from_wire(body["event"])
    return None


def _string(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise ProtocolError(f"{name} is not a string")
    return value


def _integer(body: Mapping[str, Any], name: str) -> int:
    """Read a whole number; JSON writes ids as strings, which a double could not hold."""
    value = body.get(name, 0)
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ProtocolError(f"{name} is not a whole number") from None
