"""The server API without an event loop: for Django, Celery, scripts. Needs nothing but Python.

The methods are those of `AsyncServerAPI`, word for word; a test says so.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Sequence
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from msgspec import UNSET

from imfast.definitions.backend import (
    BatchItem,
    Ended,
    SendAs,
    Session,
    Stats,
    Unread,
    UserState,
    UserToken,
)
from imfast.definitions.conversations import Conversations, GroupAnswer, History, Sent
from imfast.definitions.fields import Wire
from imfast.server_api import requests
from imfast.server_api.errors import ServerAPIError, problem
from imfast.server_api.requests import Asked, To, message

__all__ = ["ServerAPI"]

Answer = TypeVar("Answer", bound=Wire)


class ServerAPI:
    """One server, asked with one key. Threads may share it: each has its own connection."""

    def __init__(self, url: str, *, key: str, timeout_s: float = 10.0, retries: int = 2) -> None:
        """Connects when it is first asked.

        Args:
            url: of the server's HTTP port: ``http://127.0.0.1:8080``.
            key: what `imfast key create` printed.
            timeout_s: of one attempt.
            retries: further attempts after an error that is worth one. Keys make them safe.

        Raises:
            ValueError: the URL is none of HTTP.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r}: a URL like http://127.0.0.1:8080 is needed")
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        self._kind = kinds[parts.scheme]
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/") + "/v1/server/"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._timeout_s = timeout_s
        self._retries = retries
        self._local = threading.local()
        self._all: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections of all threads."""
        with self._lock:
            connections, self._all = self._all, []
        for connection in connections:
            connection.close()

    message = staticmethod(message)

    def send(
        self,
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
    ) -> Sent:
        """Sends as a user, or without `sender` as the system; durable when this returns."""
        one = message(
            to,
            text=text,
            json=json,
            sender=sender,
            key=key,
            ttl_ms=ttl_ms,
            headers=headers,
            silent=silent,
            ephemeral=ephemeral,
        )
        return self._ask(requests.send(one))

    def send_batch(self, messages: Sequence[SendAs]) -> list[BatchItem]:
        """Sends up to 500 messages, which `message` makes; each has its own result."""
        return (self._ask(requests.send_batch(messages))).items

    def broadcast(
        self,
        *,
        to_all: bool = False,
        to_list: str | None = None,
        users: Sequence[str] | None = None,
        text: str | None = None,
        json: Any = UNSET,
        key: str | None = None,
    ) -> Sent:
        """Says something to everybody, to a list, or to up to 1,000 users: stored once."""
        to = requests.everybody(to_all, to_list, users)
        return self._ask(requests.broadcast(to, text=text, json=json, key=key))

    def create_list(self, key: str, users: Sequence[str], *, title: str | None = None) -> str:
        """Makes a list to broadcast to; returns its id. The same one for the same key."""
        return (self._ask(requests.create_list(key, users, title))).conversation

    def add_to_list(
        self, conversation: str, users: Sequence[str], *, key: str | None = None
    ) -> GroupAnswer:
        """Adds up to 1,000 users to a list."""
        change = requests.change_members("lists/add", conversation, users, None, key)
        return self._ask(change)

    def remove_from_list(
        self, conversation: str, users: Sequence[str], *, key: str | None = None
    ) -> GroupAnswer:
        """Removes users from a list."""
        change = requests.change_members("lists/remove", conversation, users, None, key)
        return self._ask(change)

    def create_group(
        self,
        owner: str,
        key: str,
        members: Sequence[str] = (),
        *,
        title: str | None = None,
        open_to_all: bool = False,
    ) -> str:
        """Makes a group of `owner`; returns its id. The same one for the same owner and key."""
        made = requests.create_group(owner, key, members, title, open_to_all)
        return (self._ask(made)).conversation

    def add_members(
        self,
        conversation: str,
        users: Sequence[str],
        *,
        by: str | None = None,
        key: str | None = None,
    ) -> GroupAnswer:
        """Adds up to 1,000 users to a group; without `by` past everybody's rights."""
        change = requests.change_members("groups/add", conversation, users, by, key)
        return self._ask(change)

    def remove_members(
        self,
        conversation: str,
        users: Sequence[str],
        *,
        by: str | None = None,
        key: str | None = None,
    ) -> GroupAnswer:
        """Removes users from a group; without `by` past everybody's rights."""
        change = requests.change_members("groups/remove", conversation, users, by, key)
        return self._ask(change)

    def join(self, conversation: str, user: str, *, key: str | None = None) -> GroupAnswer:
        """Lets a user join an open group."""
        return self._ask(requests.change_own("groups/join", conversation, user, key))

    def leave(self, conversation: str, user: str, *, key: str | None = None) -> GroupAnswer:
        """Lets a user leave a group."""
        return self._ask(requests.change_own("groups/leave", conversation, user, key))

    def members(
        self, conversation: str, *, after: str | None = None, limit: int | None = None
    ) -> GroupAnswer:
        """A page of a group's members."""
        return self._ask(requests.members(conversation, after, limit))

    def history(
        self,
        conversation: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int | None = None,
        by: str | None = None,
    ) -> History:
        """A page of any conversation, or of what the user `by` may see of it."""
        return self._ask(requests.history(conversation, before, after, limit, by))

    def create_user(self, user: str, *, ttl_s: float | None = None) -> UserToken:
        """A token for a user: a day long, unless told otherwise."""
        return self._ask(requests.create_user(user, ttl_s))

    def disable_user(self, user: str) -> UserState:
        """Lets a user in no more, and ends its sessions."""
        return self._ask(requests.set_disabled(user, True))

    def enable_user(self, user: str) -> UserState:
        """Lets a user in again, with a new token."""
        return self._ask(requests.set_disabled(user, False))

    def revoke(self, user: str, *, session: str | None = None) -> Ended:
        """Calls back all tokens of a user, or the one that a session stands on."""
        return self._ask(requests.end("users/revoke", user, session))

    def disconnect(self, user: str, *, session: str | None = None) -> Ended:
        """Ends sessions whose clients may connect again."""
        return self._ask(requests.end("users/disconnect", user, session))

    def sessions(self, user: str) -> list[Session]:
        """A user's sessions, on all workers."""
        return (self._ask(requests.sessions(user))).sessions

    def conversations(
        self, user: str, *, after: str | None = None, limit: int | None = None
    ) -> Conversations:
        """A page of a user's conversations."""
        return self._ask(requests.conversations(user, after, limit))

    def unread(self, user: str) -> Unread:
        """What a user has not read."""
        return self._ask(requests.unread(user))

    def stats(self) -> Stats:
        """Counters of all workers together."""
        return self._ask(requests.stats())

    def _ask(self, asked: Asked[Answer]) -> Answer:
        content = asked.content()
        attempts = 0
        while True:
            try:
                status, body = self._post(asked.path, content)
                error = None if status == 200 else problem(status, body)
            except (OSError, http.client.HTTPException) as failure:
                error = ServerAPIError("unreachable", str(failure), retryable=True)
            if error is None:
                return asked.read(body)
            attempts += 1
            if not error.retryable or attempts > self._retries:
                raise error
            time.sleep(max(error.retry_after_s, 0.1 * 2**attempts))

    def _post(self, path: str, content: bytes) -> tuple[int, bytes]:
        connection = self._connection()
        try:
            connection.request("POST", self._prefix + path, content, self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()  # it opens again when it is used again
            raise

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._kind(self._host, self._port, timeout=self._timeout_s)
            self._local.connection = connection
            with self._lock:
                self._all.append(connection)
        return connection
