"""The server API on an event loop: for FastAPI and whatever else awaits.

The methods are those of `ServerAPI`, word for word; a test says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
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

__all__ = ["AsyncServerAPI"]

Answer = TypeVar("Answer", bound=Wire)


class AsyncServerAPI:
    """One server, asked with one key, on one event loop."""

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
        self._base = url.rstrip("/") + "/v1/server/"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._retries = retries
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    message = staticmethod(message)

    async def send(
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
        return await self._ask(requests.send(one))

    async def send_batch(self, messages: Sequence[SendAs]) -> list[BatchItem]:
        """Sends up to 500 messages, which `message` makes; each has its own result."""
        return (await self._ask(requests.send_batch(messages))).items

    async def broadcast(
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
        return await self._ask(requests.broadcast(to, text=text, json=json, key=key))

    async def create_list(self, key: str, users: Sequence[str], *, title: str | None = None) -> str:
        """Makes a list to broadcast to; returns its id. The same one for the same key."""
        return (await self._ask(requests.create_list(key, users, title))).conversation

    async def add_to_list(
        self, conversation: str, users: Sequence[str], *, key: str | None = None
    ) -> GroupAnswer:
        """Adds up to 1,000 users to a list."""
        change = requests.change_members("lists/add", conversation, users, None, key)
        return await self._ask(change)

    async def remove_from_list(
        self, conversation: str, users: Sequence[str], *, key: str | None = None
    ) -> GroupAnswer:
        """Removes users from a list."""
        change = requests.change_members("lists/remove", conversation, users, None, key)
        return await self._ask(change)

    async def create_group(
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
        return (await self._ask(made)).conversation

    async def add_members(
        self,
        conversation: str,
        users: Sequence[str],
        *,
        by: str | None = None,
        key: str | None = None,
    ) -> GroupAnswer:
        """Adds up to 1,000 users to a group; without `by` past everybody's rights."""
        change = requests.change_members("groups/add", conversation, users, by, key)
        return await self._ask(change)

    async def remove_members(
        self,
        conversation: str,
        users: Sequence[str],
        *,
        by: str | None = None,
        key: str | None = None,
    ) -> GroupAnswer:
        """Removes users from a group; without `by` past everybody's rights."""
        change = requests.change_members("groups/remove", conversation, users, by, key)
        return await self._ask(change)

    async def join(self, conversation: str, user: str, *, key: str | None = None) -> GroupAnswer:
        """Lets a user join an open group."""
        return await self._ask(requests.change_own("groups/join", conversation, user, key))

    async def leave(self, conversation: str, user: str, *, key: str | None = None) -> GroupAnswer:
        """Lets a user leave a group."""
        return await self._ask(requests.change_own("groups/leave", conversation, user, key))

    async def members(
        self, conversation: str, *, after: str | None = None, limit: int | None = None
    ) -> GroupAnswer:
        """A page of a group's members."""
        return await self._ask(requests.members(conversation, after, limit))

    async def history(
        self,
        conversation: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int | None = None,
        by: str | None = None,
    ) -> History:
        """A page of any conversation, or of what the user `by` may see of it."""
        return await self._ask(requests.history(conversation, before, after, limit, by))

    async def create_user(self, user: str, *, ttl_s: float | None = None) -> UserToken:
        """A token for a user: a day long, unless told otherwise."""
        return await self._ask(requests.create_user(user, ttl_s))

    async def disable_user(self, user: str) -> UserState:
        """Lets a user in no more, and ends its sessions."""
        return await self._ask(requests.set_disabled(user, True))

    async def enable_user(self, user: str) -> UserState:
        """Lets a user in again, with a new token."""
        return await self._ask(requests.set_disabled(user, False))

    async def revoke(self, user: str, *, session: str | None = None) -> Ended:
        """Calls back all tokens of a user, or the one that a session stands on."""
        return await self._ask(requests.end("users/revoke", user, session))

    async def disconnect(self, user: str, *, session: str | None = None) -> Ended:
        """Ends sessions whose clients may connect again."""
        return await self._ask(requests.end("users/disconnect", user, session))

    async def sessions(self, user: str) -> list[Session]:
        """A user's sessions, on all workers."""
        return (await self._ask(requests.sessions(user))).sessions

    async def conversations(
        self, user: str, *, after: str | None = None, limit: int | None = None
    ) -> Conversations:
        """A page of a user's conversations."""
        return await self._ask(requests.conversations(user, after, limit))

    async def unread(self, user: str) -> Unread:
        """What a user has not read."""
        return await self._ask(requests.unread(user))

    async def stats(self) -> Stats:
        """Counters of all workers together."""
        return await self._ask(requests.stats())

    async def _ask(self, asked: Asked[Answer]) -> Answer:
        content = asked.content()
        attempts = 0
        while True:
            try:
                status, body = await self._post(asked.path, content)
                error = None if status == 200 else problem(status, body)
            except (aiohttp.ClientError, TimeoutError) as failure:
                error = ServerAPIError("unreachable", str(failure), retryable=True)
            if error is None:
                return asked.read(body)
            attempts += 1
            if not error.retryable or attempts > self._retries:
                raise error
            await asyncio.sleep(max(error.retry_after_s, 0.1 * 2**attempts))

    async def _post(self, path: str, content: bytes) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout)
        async with self._session.post(self._base + path, data=content) as answer:
            return answer.status, await answer.read()
