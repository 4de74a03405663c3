"""Verbs that the engine carries out for somebody without a connection, as awaitables."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imfast.codes import Code

if TYPE_CHECKING:
    from imfast._engine import Engine

__all__ = ["Acts", "Done"]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an act."""

    code: Code | None
    """None: it was done."""
    retry_after_ms: int
    content: bytes
    """The answer as JSON, or the error's message."""


class Acts:
    """Those under way. Whatever is begun outside of a tick is flushed once the loop comes round."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[int, asyncio.Future[Done]] = {}
        self._flushing = False

    def begin(
        self, tenant: str, user: str, verb: str, body: bytes, *, by_server: bool = False
    ) -> Awaitable[Done]:
        """Carries out a verb, its fields in `body`, as a user or as the server itself."""
        number = self._engine.act(tenant, user, verb, body, "", by_server)
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self.flush_soon()
        return future

    def settle(self) -> None:
        """Hands out the answers that the engine has."""
        for number, code, retry_after_ms, content in self._engine.take_acted():
            future = self._waiting.pop(number, None)
            if future is not None and not future.done():
                future.set_result(Done(Code(code) if code else None, retry_after_ms, content))

    def flush_soon(self) -> None:
        """Has the engine notice what was given to it, once for all that is given now."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._engine.flush()
