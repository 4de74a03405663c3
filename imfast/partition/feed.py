"""Serves readers of the outbox; `imfast.outbox.feed` is the other side and has the contract.

Readers ask, and nothing is kept for one that does not: a slow reader costs its owner nothing, a
quick one a page of bounded size each time it has handled the one before.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from imfast._engine import Engine
from imfast.partition.owner import PartitionOwner

__all__ = ["OutboxFeed"]

log = structlog.get_logger(__name__)

PAGE_BYTES = 64 * 1024
"""Of messages and events; making a page delays whatever else the worker does."""

LINE_BYTES_MAX = 4096
WAIT_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class _Question:
    reader: str
    partition: int
    after: int | None
    passed: int
    wait_s: float


class OutboxFeed:
    """One worker's pages of its partitions."""

    def __init__(
        self, engine: Engine, partitions: Mapping[int, PartitionOwner], readers: Collection[str]
    ) -> None:
        """`readers` are the names of those who may ask."""
        self._engine = engine
        self._partitions = partitions
        self._readers = frozenset(readers)
        self._server: asyncio.Server | None = None

    async def serve(self, path: str) -> None:
        """Answers at a Unix socket, which only this user can reach."""
        with suppress(FileNotFoundError):  # its predecessor's
            os.unlink(path)  # noqa: PTH108 - beside the calls below
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._answer, path, limit=LINE_BYTES_MAX)
        finally:
            os.umask(mask)

    def close(self) -> None:
        """Takes no more questions."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                head, effects = await self._page(_read(line))
                writer.write(orjson.dumps(head) + b"\n" + effects)
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            log.debug("outbox_reader_gone", reason=str(error))
        except Exception as error:
            # It touched nothing but this connection, and a reader asks again.
            log.error("outbox_page_failed", exc_info=error)
        finally:
            writer.close()

    async def _page(self, question: _Question) -> tuple[dict[str, Any], bytes]:
        owner = self._partitions.get(question.partition)
        if question.reader not in self._readers or owner is None:
            return {"refused": f"no reader {question.reader!r} of {question.partition} here"}, b""
        after = question.after
        if after is None:
            return _head(owner.opened_at, owner.opened_at), b""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(question.wait_s, WAIT_S_MAX)
        while True:
            # Before the look: what is committed after it ends the wait.
            committed = loop.create_future()
            owner.waiting.add(committed)
            try:
                page = self._engine.outbox_page(owner.number, after, PAGE_BYTES)
                if page is None:
                    return {"refused": "the partition is not open"}, b""
                effects, through, position = page
                if effects or through < after or loop.time() >= deadline:
                    return _head(through, position, len(effects)), effects
                after = through
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await committed
            finally:
                owner.waiting.discard(committed)


def _head(through: int, committed: int, size: int = 0) -> dict[str, Any]:
    return {"bytes": size, "through": through, "committed": committed}


def _read(line: bytes) -> _Question:
    try:
        return _Question(**orjson.loads(line))
    except TypeError as error:
        raise ValueError(str(error)) from None
