"""Server-sent events as a browser's EventSource reads them, on raw sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

from tests.support.deadline import until
from tests.support.raw_http import RawHttp
from tests.support.server import Server

__all__ = ["EventStream"]

Frame = dict[str, Any]


class EventStream:
    """One stream. Records what it is told; `last_id` is what a browser would come back with."""

    def __init__(self, connection: RawHttp, head: dict[str, str]) -> None:
        self.head = head
        self.events: list[Frame] = []
        self.comments = 0
        self.last_id = ""
        self.retry_ms = 0
        # Whether the stream ended as the protocol wants it.
        self.complete = False
        self.connection = connection
        self.ended = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls, server: Server, *, token: str = "", last_id: str = "", **query: str
    ) -> EventStream:
        """Ask for events; fails where they are not granted."""
        connection = await RawHttp.open(server)
        lines = [f"GET /v1/events?{urlencode(query)} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"Authorization: Bearer {token}"] if token else []
        lines += [f"Last-Event-ID: {last_id}"] if last_id else []
        connection.write("\r\n".join([*lines, "", ""]))
        async with asyncio.timeout(10):
            block = (await connection.reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = block.removesuffix("\r\n\r\n").split("\r\n")
        assert first == "HTTP/1.1 200 OK", block
        head = dict(line.lower().split(": ", 1) for line in rest)
        assert head["content-type"] == "text/event-stream"
        return cls(connection, head)

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        self.connection.writer.close()

    def rows(self) -> list[Frame]:
        """Messages and events, in their order."""
        bodies = [frame.get("message") or frame.get("event") for frame in self.events]
        return [body for body in bodies if body]

    def named(self, name: str) -> list[Frame]:
        """Frames of that kind."""
        return [frame[name] for frame in self.events if name in frame]

    async def wait_rows(self, count: int) -> list[Frame]:
        """Wait for so many rows in all."""
        await until(lambda: len(self.rows()) >= count, f"{count} rows of a stream", timeout=15)
        return self.rows()

    async def wait_for(self, name: str) -> Frame:
        """Wait for a frame of that kind."""
        await until(lambda: bool(self.named(name)), f"{name} in a stream", timeout=15)
        return self.named(name)[-1]

    async def _read(self) -> None:
        text = ""
        reader = self.connection.reader
        try:
            while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                text += (await reader.readexactly(size)).decode()
                assert await reader.readexactly(2) == b"\r\n"
                *blocks, text = text.split("\n\n")
                for block in blocks:
                    self._take(block)
            assert await reader.readexactly(2) == b"\r\n"
            self.complete = True
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended.set()

    def _take(self, block: str) -> None:
        data = []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match name:
                case "":
                    self.comments += 1
                case "id":
                    self.last_id = value
                case "retry":
                    self.retry_ms = int(value)
                case "data":
                    data.append(value)
                case _:
                    raise AssertionError(f"unexpected line: {line!r}")
        if data:
            self.events.append(json.loads("\n".join(data)))
