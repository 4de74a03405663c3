"""Finds who asks and what for, runs the handler, and writes its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from imfast.access.api_keys import KeyRing
from imfast.codes import CODES, Code
from imfast.definitions.operations import BACKEND
from imfast.errors import (
    NotAllowedError,
    OverloadedError,
    RequestError,
    TokenInvalidError,
    UnsupportedError,
)
from imfast.gateway.backend import groups, messages, users
from imfast.gateway.backend.call import Call, Setting

if TYPE_CHECKING:
    from imfast._engine import Engine, Request

__all__ = ["Backend"]

log = structlog.get_logger(__name__)

RUNNING_MAX = 256
"""Requests of backends that one worker carries out at a time."""

RETRY_MS = 100

HANDLERS: dict[str, Callable[[Call], Awaitable[bytes]]] = {
    "send": messages.send,
    "batch": messages.batch,
    "broadcast": messages.broadcast,
    "lists/create": messages.create_list,
    "lists/add": groups.list_add,
    "lists/remove": groups.list_remove,
    "groups/create": groups.create,
    "groups/add": groups.add,
    "groups/remove": groups.remove,
    "groups/join": groups.join,
    "groups/leave": groups.leave,
    "groups/members": groups.members,
    "history": groups.history,
    "users/create": users.create,
    "users/disable": users.disable,
    "users/enable": users.enable,
    "users/revoke": users.revoke,
    "users/disconnect": users.disconnect,
    "users/sessions": users.sessions,
    "users/conversations": users.conversations,
    "users/unread": users.unread,
    "stats": users.stats,
}
SCOPE_OF = {operation.name: operation.scope for operation in BACKEND}

PREFIX = "/v1/server/"


class Backend:
    """The server API of one worker."""

    def __init__(self, engine: Engine, keys: KeyRing, setting: Setting) -> None:
        self._engine = engine
        self._keys = keys
        self._setting = setting
        self._running: set[asyncio.Task[None]] = set()

    def serve(self, request: Request) -> None:
        """Begins to serve a request.

        Raises:
            RequestError: it is refused.
        """
        name = request.path.removeprefix(PREFIX)
        if not request.token:
            raise TokenInvalidError("no key: Authorization: Bearer <key>")
        key = self._keys.find(request.token)
        if key is None:
            raise TokenInvalidError("no key of this server, or none any more")
        handler = HANDLERS.get(name)
        if handler is None:
            raise UnsupportedError("there is no such operation")
        if SCOPE_OF[name] not in key.scopes:
            raise NotAllowedError(f"the key lacks the scope {SCOPE_OF[name]!r}")
        if len(self._running) >= RUNNING_MAX:
            raise OverloadedError("too many requests of backends at a time", RETRY_MS)
        call = Call(self._setting, key, request.body, request.key)
        task = asyncio.get_running_loop().create_task(
            self._carry_out(request.connection, name, handler, call)
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _carry_out(
        self,
        connection: int,
        name: str,
        handler: Callable[[Call], Awaitable[bytes]],
        call: Call,
    ) -> None:
        try:
            answer = await handler(call)
        except RequestError as error:
            log.info("backend refused", operation=name, key=call.key.id, reason=str(error))
            message = str(error) or CODES[error.code].message
            self._engine.refuse(connection, error.code, message, error.retry_after_ms)
        except Exception:
            # One request's fault: others go on.
            log.exception("backend failed", operation=name, key=call.key.id)
            self._engine.refuse(connection, Code.INTERNAL)
        else:
            headers = [("Cache-Control", "no-store")]
            self._engine.respond(connection, 200, "application/json", answer, headers, True)
        self._setting.acts.flush_soon()
