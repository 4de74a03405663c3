"""The table of what can be asked over HTTP with a body: path, types, and who may."""

from __future__ import annotations

from dataclasses import dataclass

from imfast.definitions import backend, verbs
from imfast.definitions.conversations import Conversations, GroupAnswer, History, Sent
from imfast.definitions.fields import Empty, Wire

__all__ = ["BACKEND", "VERBS", "Operation"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One `POST`."""

    path: str
    request: type[Wire]
    answer: type[Wire]
    summary: str
    scope: str = ""
    """Of a key that may; empty: a user's token asks."""
    keyed: bool = False
    """Whether `Idempotency-Key` means something."""

    @property
    def name(self) -> str:
        """The path within its half of the table."""
        return self.path.removeprefix("/v1/server/").removeprefix("/v1/")


def _verb(
    name: str, request: type[Wire], answer: type[Wire], summary: str, *, keyed: bool = False
) -> Operation:
    return Operation(f"/v1/{name}", request, answer, summary, keyed=keyed)


def _backend(
    name: str,
    scope: str,
    request: type[Wire],
    answer: type[Wire],
    summary: str,
    *,
    keyed: bool = False,
) -> Operation:
    return Operation(f"/v1/server/{name}", request, answer, summary, scope, keyed)


VERBS = (
    _verb("send", verbs.Send, Sent, "Send a message; it is durable when this answers.", keyed=True),
    _verb("ack", verbs.Cursor, Empty, "Everything up to a seq was delivered to this device."),
    _verb("read", verbs.Cursor, Empty, "Everything up to a seq was read by this user."),
    _verb("history", verbs.HistoryRequest, History, "A page of a conversation."),
    _verb("conversations", verbs.ConversationsRequest, Conversations, "The user's conversations."),
    _verb("group", verbs.Group, GroupAnswer, "Make a group, change it, list it.", keyed=True),
    _verb("ping", Empty, verbs.Pong, "The server's clock."),
    _verb("ticket", Empty, verbs.Ticket, "A one-use ticket, for what can send no header."),
)

BACKEND = (
    _backend("send", "send", backend.SendAs, Sent, "Send as a user, or as the system.", keyed=True),
    _backend(
        "batch",
        "send",
        backend.Batch,
        backend.BatchAnswer,
        "Send up to 500 messages; each has its own result.",
        keyed=True,
    ),
    _backend(
        "broadcast",
        "broadcast",
        backend.Broadcast,
        Sent,
        "Say something to everybody, or to a list: stored once.",
        keyed=True,
    ),
    _backend(
        "lists/create",
        "broadcast",
        backend.CreateList,
        GroupAnswer,
        "Make a list to broadcast to.",
    ),
    _backend(
        "lists/add",
        "broadcast",
        backend.ChangeMembers,
        GroupAnswer,
        "Add up to 1,000 users to a list.",
        keyed=True,
    ),
    _backend(
        "lists/remove",
        "broadcast",
        backend.ChangeMembers,
        GroupAnswer,
        "Remove users from a list.",
        keyed=True,
    ),
    _backend(
        "groups/create", "groups", backend.CreateGroup, GroupAnswer, "Make a group.", keyed=True
    ),
    _backend(
        "groups/add",
        "groups",
        backend.ChangeMembers,
        GroupAnswer,
        "Add up to 1,000 users to a group.",
        keyed=True,
    ),
    _backend(
        "groups/remove",
        "groups",
        backend.ChangeMembers,
        GroupAnswer,
        "Remove users from a group, its owner too.",
        keyed=True,
    ),
    _backend(
        "groups/join",
        "groups",
        backend.ChangeOwn,
        GroupAnswer,
        "Let a user join an open group.",
        keyed=True,
    ),
    _backend(
        "groups/leave",
        "groups",
        backend.ChangeOwn,
        GroupAnswer,
        "Let a user leave a group.",
        keyed=True,
    ),
    _backend(
        "groups/members", "groups", backend.ListMembers, GroupAnswer, "A page of the members."
    ),
    _backend("history", "history", backend.ReadHistory, History, "A page of any conversation."),
    _backend(
        "users/create",
        "users",
        backend.CreateUser,
        backend.UserToken,
        "A token for a user, who exists from then on.",
    ),
    _backend(
        "users/disable",
        "users",
        backend.OfUser,
        backend.UserState,
        "Let a user in no more, and end its sessions.",
    ),
    _backend("users/enable", "users", backend.OfUser, backend.UserState, "Let a user in again."),
    _backend(
        "users/revoke",
        "users",
        backend.OfSession,
        backend.Ended,
        "Call back the tokens of a user, or of one session, and end what stands on them.",
    ),
    _backend(
        "users/disconnect",
        "users",
        backend.OfSession,
        backend.Ended,
        "End sessions; their clients may connect again.",
    ),
    _backend(
        "users/sessions", "users", backend.OfUser, backend.Sessions, "The sessions of a user."
    ),
    _backend(
        "users/conversations",
        "users",
        backend.UserConversations,
        Conversations,
        "A page of a user's conversations.",
    ),
    _backend("users/unread", "users", backend.OfUser, backend.Unread, "What a user has not read."),
    _backend("stats", "stats", Empty, backend.Stats, "Counters of all workers together."),
)
