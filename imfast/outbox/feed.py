"""Pages of one partition's effects, asked of its owner over a Unix socket.

Each side says a JSON line; the owner's is followed by as many bytes as it names::

    {"reader": "push", "partition": 0, "after": 981, "passed": 900, "wait_s": 20.0}
    {"bytes": 5120, "through": 1004, "committed": 1004}

`after` is null for a reader that does not know where it is: it is told, in an empty page. `passed`
is what it will never ask for again, also after a power cut: the log may forget that. An owner that
has nothing new waits so long before it says so.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson

__all__ = ["Feed", "FeedError", "Page"]

WAIT_S = 20.0
PATIENCE_S = 30.0
"""An owner that says nothing for longer than it was asked to wait hangs; it will be replaced."""


class FeedError(Exception):
    """The owner is away, or cannot serve now; a later attempt may find it back."""


@dataclass(frozen=True, slots=True)
class Page:
    """Effects of a range of positions."""

    lines: list[bytes]
    through: int
    """All up to there is in this page or before; below what was asked for where the log lost its
    end."""
    committed: int


class Feed:
    """One partition's effects. Connects when it is asked, and again after a failure."""

    def __init__(self, path: str, reader: str, partition: int) -> None:
        """`path` is the socket of whoever owns the partition."""
        self._path = path
        self._name = reader
        self._partition = partition
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def page(self, after: int | None, passed: int) -> Page:
        """The next effects behind `after`; waits for some, and returns none after a while.

        Raises:
            FeedError: there is nobody to ask.
        """
        question = {
            "reader": self._name,
            "partition": self._partition,
            "after": after,
            "passed": passed,
            "wait_s": WAIT_S,
        }
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._ask(orjson.dumps(question) + b"\n")
        except (OSError, EOFError, TimeoutError, ValueError, KeyError) as error:
            self.close()
            raise FeedError(f"partition {self._partition}: {error!r}") from None
        except BaseException:
            self.close()  # half an answer may be on its way
            raise

    async def _ask(self, question: bytes) -> Page:
        if self._streams is None:
            self._streams = await asyncio.open_unix_connection(self._path)
        reader, writer = self._streams
        writer.write(question)
        answer = orjson.loads(await reader.readuntil(b"\n"))
        if "refused" in answer:
            raise ValueError(answer["refused"])
        effects = await reader.readexactly(answer["bytes"])
        return Page(effects.split(b"\n")[:-1], answer["through"], answer["committed"])

    def close(self) -> None:
        """Lets the connection go."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
