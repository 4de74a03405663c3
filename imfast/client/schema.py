"""The messages of ``spec/imfast.proto`` as tables for the codec; a test compares them with it.

Field names are those of the JSON encoding (lowerCamelCase), so that both encodings decode to
the same dicts.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["BOOL", "BYTES", "STRING", "UINT", "Field", "Schema", "MESSAGES"]

UINT: Final = "uint"  # uint32 and uint64
BOOL: Final = "bool"
STRING: Final = "string"
BYTES: Final = "bytes"


class Field(NamedTuple):
    """A field: `kind` is one of the constants above or the name of a message."""

    number: int
    name: str
    kind: str
    repeated: bool = False
    oneof: str = ""


Schema = tuple[Field, ...]

_CONTENT: Schema = (
    Field(6, "json", STRING, oneof="body"),
    Field(7, "text", STRING, oneof="body"),
    Field(8, "bytes", BYTES, oneof="body"),
    Field(9, "contentType", STRING),
    Field(10, "ttlMs", UINT),
    Field(11, "headers", "Header", repeated=True),
    Field(12, "silent", BOOL),
    Field(13, "ephemeral", BOOL),
)

# A body as edits and their events have it.
_EDITED: Schema = (
    Field(10, "json", STRING, oneof="body"),
    Field(11, "text", STRING, oneof="body"),
    Field(12, "bytes", BYTES, oneof="body"),
    Field(13, "contentType", STRING),
)

# The message that something is done to, and the key under which.
_OF: Schema = (Field(1, "conversation", STRING), Field(2, "seq", UINT), Field(3, "key", STRING))

MESSAGES: Final[dict[str, Schema]] = {
    "ClientFrame": (
        Field(1, "id", UINT),
        Field(2, "connect", "Connect", oneof="verb"),
        Field(3, "refresh", "Refresh", oneof="verb"),
        Field(4, "send", "Send", oneof="verb"),
        Field(5, "ack", "Cursor", oneof="verb"),
        Field(6, "read", "Cursor", oneof="verb"),
        Field(7, "history", "History", oneof="verb"),
        Field(8, "conversations", "Conversations", oneof="verb"),
        Field(9, "group", "Group", oneof="verb"),
        Field(10, "ping", "Ping", oneof="verb"),
        Field(11, "receipts", "Cursor", oneof="verb"),
        Field(12, "recall", "Recall", oneof="verb"),
        Field(13, "edit", "Edit", oneof="verb"),
        Field(14, "react", "React", oneof="verb"),
        Field(15, "presence", "Presence", oneof="verb"),
    ),
    "ServerFrame": (
        Field(1, "id", UINT),
        Field(2, "connected", "Connected", oneof="body"),
        Field(3, "refreshed", "Refreshed", oneof="body"),
        Field(4, "sent", "Sent", oneof="body"),
        Field(5, "acked", "Acked", oneof="body"),
        Field(6, "history", "HistoryPage", oneof="body"),
        Field(7, "conversations", "ConversationsPage", oneof="body"),
        Field(8, "group", "GroupResult", oneof="body"),
        Field(9, "pong", "Pong", oneof="body"),
        Field(10, "error", "Error", oneof="body"),
        Field(11, "receipts", "Receipts", oneof="body"),
        Field(16, "message", "Message", oneof="body"),
        Field(17, "event", "Event", oneof="body"),
        Field(18, "receipt", "Receipt", oneof="body"),
        Field(19, "presence", "PresenceList", oneof="body"),
        Field(20, "checkpoint", "Checkpoint", oneof="body"),
        Field(21, "caughtUp", "Checkpoint", oneof="body"),
        Field(22, "tokenExpiring", "TokenExpiring", oneof="body"),
        Field(23, "kicked", "Kicked", oneof="body"),
        Field(24, "goaway", "GoAway", oneof="body"),
        Field(25, "expired", "Expired", oneof="body"),
    ),
    "Connect": (
        Field(1, "token", STRING),
        Field(2, "device", STRING),
        Field(3, "sync", STRING),
    ),
    "Connected": (
        Field(1, "user", STRING),
        Field(2, "session", STRING),
        Field(3, "server", STRING),
        Field(4, "heartbeatMs", UINT),
        Field(5, "serverTimeMs", UINT),
        Field(6, "limits", "Limits"),
    ),
    "Limits": (
        Field(1, "bodyBytes", UINT),
        Field(2, "frameBytes", UINT),
        Field(3, "membersPerCall", UINT),
        Field(4, "pageItems", UINT),
    ),
    "Refresh": (Field(1, "token", STRING),),
    "Refreshed": (Field(1, "expiresAtMs", UINT),),
    "Target": (
        Field(1, "user", STRING, oneof="target"),
        Field(2, "group", STRING, oneof="target"),
        Field(3, "conversation", STRING, oneof="target"),
    ),
    "Send": (Field(1, "to", "Target"), Field(2, "key", STRING), *_CONTENT),
    "Header": (Field(1, "name", STRING), Field(2, "value", STRING)),
    "Sent": (
        Field(1, "conversation", STRING),
        Field(2, "seq", UINT),
        Field(3, "messageId", UINT),
        Field(4, "position", STRING),
        Field(5, "timestampMs", UINT),
        Field(6, "duplicate", BOOL),
    ),
    "Message": (
        Field(1, "conversation", STRING),
        Field(2, "seq", UINT),
        Field(3, "messageId", UINT),
        Field(4, "from", STRING),
        Field(5, "timestampMs", UINT),
        *_CONTENT,
        Field(14, "editedSeq", UINT),
    ),
    "Event": (
        Field(1, "conversation", STRING),
        Field(2, "seq", UINT),
        Field(3, "messageId", UINT),
        Field(4, "by", STRING),
        Field(5, "timestampMs", UINT),
        Field(6, "type", STRING),
        Field(7, "users", STRING, repeated=True),
        Field(8, "title", STRING),
        Field(9, "refSeq", UINT),
        *_EDITED,
        Field(14, "reaction", STRING),
        Field(15, "withdrawn", BOOL),
        Field(16, "role", STRING),
        Field(17, "open", BOOL),
        Field(18, "expiresMs", UINT),
    ),
    "Cursor": (Field(1, "conversation", STRING), Field(2, "seq", UINT)),
    "Acked": (),
    "Receipts": (
        Field(1, "conversation", STRING),
        Field(2, "seq", UINT),
        Field(3, "delivered", UINT),
        Field(4, "read", UINT),
        Field(5, "members", UINT),
    ),
    "Receipt": (
        Field(1, "conversation", STRING),
        Field(2, "user", STRING),
        Field(3, "deliveredSeq", UINT),
        Field(4, "readSeq", UINT),
    ),
    "Recall": _OF,
    "Edit": (*_OF, *_EDITED),
    "React": (*_OF, Field(4, "reaction", STRING), Field(5, "remove", BOOL)),
    "Presence": (
        Field(1, "subscribe", "Presence.Users", oneof="action"),
        Field(2, "unsubscribe", "Presence.Users", oneof="action"),
        Field(3, "set", "Presence.Set", oneof="action"),
    ),
    "Presence.Users": (Field(1, "users", STRING, repeated=True),),
    "Presence.Set": (Field(1, "status", STRING),),
    "PresenceList": (Field(1, "items", "Status", repeated=True),),
    "Status": (
        Field(1, "user", STRING),
        Field(2, "status", STRING),
        Field(3, "lastSeenMs", UINT),
    ),
    "History": (
        Field(1, "conversation", STRING),
        Field(2, "before", UINT),
        Field(3, "after", UINT),
        Field(4, "limit", UINT),
    ),
    "HistoryPage": (Field(1, "items", "Item", repeated=True), Field(2, "more", BOOL)),
    "Item": (
        Field(1, "message", "Message", oneof="item"),
        Field(2, "event", "Event", oneof="item"),
    ),
    "Conversations": (Field(1, "after", STRING), Field(2, "limit", UINT)),
    "ConversationsPage": (Field(1, "items", "Summary", repeated=True), Field(2, "more", BOOL)),
    "Summary": (
        Field(1, "conversation", STRING),
        Field(2, "kind", STRING),
        Field(3, "title", STRING),
        Field(4, "peer", STRING),
        Field(5, "seq", UINT),
        Field(6, "joinedSeq", UINT),
        Field(7, "readSeq", UINT),
        Field(8, "ackedSeq", UINT),
        Field(9, "unread", UINT),
        Field(10, "last", "Item"),
    ),
    "Group": (
        Field(1, "create", "Group.Create", oneof="action"),
        Field(2, "join", "Group.Single", oneof="action"),
        Field(3, "leave", "Group.Single", oneof="action"),
        Field(4, "add", "Group.Many", oneof="action"),
        Field(5, "remove", "Group.Many", oneof="action"),
        Field(6, "members", "Group.MembersRequest", oneof="action"),
        Field(7, "role", "Group.Roles", oneof="action"),
        Field(8, "mute", "Group.Many", oneof="action"),
        Field(9, "unmute", "Group.Many", oneof="action"),
        Field(10, "settings", "Group.Settings", oneof="action"),
    ),
    "Group.Roles": (
        Field(1, "conversation", STRING),
        Field(2, "key", STRING),
        Field(3, "users", STRING, repeated=True),
        Field(4, "role", STRING),
    ),
    "Group.Settings": (
        Field(1, "conversation", STRING),
        Field(2, "key", STRING),
        Field(3, "title", STRING),
        Field(4, "open", BOOL),
    ),
    "Group.Create": (
        Field(1, "key", STRING),
        Field(2, "title", STRING),
        Field(3, "members", STRING, repeated=True),
        Field(4, "open", BOOL),
    ),
    "Group.Single": (Field(1, "conversation", STRING), Field(2, "key", STRING)),
    "Group.Many": (
        Field(1, "conversation", STRING),
        Field(2, "key", STRING),
        Field(3, "users", STRING, repeated=True),
    ),
    "Group.MembersRequest": (
        Field(1, "conversation", STRING),
        Field(2, "after", STRING),
        Field(3, "limit", UINT),
    ),
    "GroupResult": (
        Field(1, "conversation", STRING),
        Field(2, "seq", UINT),
        Field(3, "members", "Member", repeated=True),
        Field(4, "more", BOOL),
    ),
    "Member": (
        Field(1, "user", STRING),
        Field(2, "role", STRING),
        Field(3, "joinedSeq", UINT),
    ),
    "Ping": (),
    "Pong": (Field(1, "serverTimeMs", UINT),),
    "Error": (
        Field(1, "code", UINT),
        Field(2, "name", STRING),
        Field(3, "retryable", BOOL),
        Field(4, "retryAfterMs", UINT),
        Field(5, "message", STRING),
    ),
    "Checkpoint": (Field(1, "token", STRING),),
    "TokenExpiring": (Field(1, "expiresAtMs", UINT),),
    "Kicked": (Field(1, "reason", STRING),),
    "GoAway": (Field(1, "reconnectAfterMs", UINT),),
    "Expired": (
        Field(1, "conversation", STRING),
        Field(2, "fromSeq", UINT),
        Field(3, "toSeq", UINT),
    ),
}
