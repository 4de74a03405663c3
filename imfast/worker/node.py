"""The other workers, asked through the supervisor: what a user's sessions are, wherever they are.

A question goes up the control channel, comes down to every worker, this one included, and the
answers come back together. See imfast.config.worker_document.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from imfast.access.revocations import Change, Revocations
from imfast.codes import Code
from imfast.errors import OverloadedError, StorageFullError

if TYPE_CHECKING:
    from imfast._engine import Engine

__all__ = ["Node"]

PATIENCE_S = 5.0
"""For all answers. The supervisor gives a worker less."""


class Node:
    """Asks, and answers what others ask."""

    def __init__(self, engine: Engine, revocations: Revocations, tell: Callable[..., None]) -> None:
        """`tell` writes one line to the supervisor."""
        self._engine = engine
        self._revocations = revocations
        self._tell = tell
        self._asked = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def ask(self, question: dict[str, Any]) -> list[Any]:
        """What every worker answers.

        Raises:
            OverloadedError: not all of them in time.
        """
        answers: list[Any] = (await self._through_supervisor(question))["answers"]
        return answers

    async def change(self, change: Change) -> None:
        """Returns when a change is durable and every worker heeds it.

        Raises:
            StorageFullError: it could not be written; it may hold until the server is started anew.
            OverloadedError: a worker did not say so in time.
        """
        answer = await self._through_supervisor({"change": change})
        if answer.get("failed"):
            raise StorageFullError(f"the revocation is not written: {answer['failed']}")

    async def _through_supervisor(self, question: dict[str, Any]) -> dict[str, Any]:
        self._asked += 1
        number = self._asked
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._tell(ask={"number": number, "question": question})
            async with asyncio.timeout(PATIENCE_S):
                answer = await future
        except (TimeoutError, OSError):
            raise OverloadedError("not every worker answered", 1000) from None
        finally:
            del self._waiting[number]
        if answer["missing"]:
            raise OverloadedError("not every worker answered", 1000)
        return answer

    def answered(self, number: int, answer: dict[str, Any]) -> None:
        """The supervisor has all answers."""
        future = self._waiting.get(number)
        if future is not None and not future.done():
            future.set_result(answer)

    def serve(self, number: int, question: dict[str, Any]) -> None:
        """The supervisor asks for this worker's part."""
        self._tell(told={"number": number, "answer": self._part(question)})

    def _part(self, question: dict[str, Any]) -> Any:
        if "sessions" in question:
            return self._engine.sessions(*question["sessions"])
        if "disconnect" in question:
            tenant, user, code, session, credential = question["disconnect"]
            ended = self._engine.disconnect(tenant, user, Code(code), session, credential)
            self._engine.flush()
            return ended
        if "change" in question:
            self._revocations.apply(question["change"])
            return True
        return self._engine.stats()
