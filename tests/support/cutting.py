"""A way to a server that breaks after a chosen number of bytes, and a client that goes on from what
it has: what a phone on a bad network sees."""

from __future__ import annotations

import asyncio
import contextlib
import json
from types import TracebackType
from typing import Self

from tests.support.plain_client import Frame, body_of
from tests.support.server import Server

__all__ = ["Cutter", "View"]

READ_BYTES = 65536


class View:
    """What a client has of every conversation: rows in order, and the token it would go on from."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Frame]] = {}
        self.token = ""
        self.repeated = 0

    def take(self, frames: list[Frame]) -> None:
        """Applies pushes in the order of their arrival."""
        for frame in frames:
            if "message" in frame or "event" in frame:
                self._row(frame)
            for name in ("caughtUp", "checkpoint"):
                if name in frame:
                    self.token = frame[name]["token"]

    def _row(self, frame: Frame) -> None:
        body = body_of(frame)
        rows = self.rows.setdefault(body["conversation"], [])
        seq = body["seq"]
        assert seq <= len(rows) + 1, f"{body['conversation']}: {seq} follows {len(rows)}"
        if seq == len(rows) + 1:
            rows.append(frame)
        else:
            self.repeated += 1
            assert rows[seq - 1] == frame, "a repeated row is the same row"

    def copy(self) -> View:
        """A view that goes on from here by itself."""
        other = View()
        other.rows = {name: list(rows) for name, rows in self.rows.items()}
        other.token = self.token
        return other


class Cutter:
    """Listens on a port of its own and passes bytes on to a server, until it cuts."""

    def __init__(self, server: Server, token: str) -> None:
        self._server = server
        self._token = token
        self._listener: asyncio.Server | None = None
        self._left: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._listener is not None:
            self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def session(self, view: View, cut_after: int | None) -> tuple[int, bool]:
        """A framed TCP session from `view`'s token, up to `caughtUp` or the cut.

        `cut_after` counts the server's bytes. Whole frames that came are applied. Returns how many
        bytes came, and whether it was caught up.
        """
        self._left = cut_after
        assert self._listener is not None
        port = self._listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        received = b""
        caught_up = False
        try:
            body = {"token": self._token, "device": "phone"}
            if view.token:
                body["sync"] = view.token
            writer.write(_upgrade() + _text(json.dumps({"id": 1, "connect": body}).encode()))
            frames = _Frames()
            async with asyncio.timeout(15):
                while not caught_up and (data := await reader.read(READ_BYTES)):
                    received += data
                    pushes = frames.feed(data)
                    view.take(pushes)
                    caught_up = any("caughtUp" in push for push in pushes)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
        return len(received), caught_up

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._server.ready.http)
        up = asyncio.create_task(_pass_on(reader, ours))
        try:
            while data := await theirs.read(READ_BYTES):
                if self._left is not None:
                    data, self._left = data[: self._left], max(0, self._left - len(data))
                writer.write(data)
                await writer.drain()
                if self._left == 0:
                    break
        except ConnectionError:
            pass
        finally:
            up.cancel()
            await asyncio.gather(up, return_exceptions=True)
            # What was passed on arrives; the server's end breaks without a word.
            writer.close()
            ours.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()


def _upgrade() -> bytes:
    return (
        b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )


def _text(content: bytes) -> bytes:
    """A client's text message, masked with zeros."""
    size = len(content)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + content


class _Frames:
    """Takes the upgrade's answer and WebSocket text messages apart, however they are cut."""

    def __init__(self) -> None:
        self._bytes = b""
        self._upgraded = False

    def feed(self, data: bytes) -> list[Frame]:
        """The pushes whose last byte has come."""
        self._bytes += data
        if not self._upgraded:
            head, end, rest = self._bytes.partition(b"\r\n\r\n")
            if not end:
                return []
            assert head.startswith(b"HTTP/1.1 101"), head
            self._upgraded, self._bytes = True, rest
        found: list[Frame] = []
        while (message := self._message()) is not None:
            found += _values(message)
        return found

    def _message(self) -> bytes | None:
        data = self._bytes
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size >= 126:
            width = 2 if size == 126 else 8
            start = 2 + width
            size = int.from_bytes(data[2:start], "big")
        if len(data) < start + size:
            return None
        self._bytes = data[start + size :]
        return data[start : start + size] if data[0] == 0x81 else b""


def _values(message: bytes) -> list[Frame]:
    decode = json.JSONDecoder().raw_decode
    text, offset, found = message.decode(), 0, []
    while offset < len(text):
        frame, offset = decode(text, offset)
        found.append(frame)
    return found
