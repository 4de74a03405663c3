"""HTTP byte by byte: what a test writes is what the server reads; answers are read strictly."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from tests.support.server import Server

__all__ = ["Answer", "RawHttp", "post"]


@dataclass(frozen=True)
class Answer:
    """One response. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class RawHttp:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, server: Server) -> RawHttp:
        """Connect to the port of HTTP and WebSocket."""
        return cls(*await asyncio.open_connection("127.0.0.1", server.ready.http))

    async def __aenter__(self) -> RawHttp:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def write(self, *parts: bytes | str) -> None:
        """Write bytes as they are."""
        for part in parts:
            self.writer.write(part.encode() if isinstance(part, str) else part)

    async def answer(self, *, head: bool = False, timeout: float = 10.0) -> Answer:
        """Read one response; `head`: to a HEAD, which has no body."""
        async with asyncio.timeout(timeout):
            block = (await self.reader.readuntil(b"\r\n\r\n")).decode("ascii")
            lines = block.removesuffix("\r\n\r\n").split("\r\n")
            version, status, _reason = lines[0].split(" ", 2)
            assert version == "HTTP/1.1"
            pairs = [line.split(": ", 1) for line in lines[1:]]
            headers = {name.lower(): value for name, value in pairs}
            assert len(headers) == len(pairs), f"a header is repeated: {lines}"
            length = 0 if head else int(headers.get("content-length", 0))
            return Answer(int(status), headers, await self.reader.readexactly(length))

    async def ended(self, *, timeout: float = 10.0) -> bytes:
        """Read until the server closes, and return what it still said."""
        try:
            async with asyncio.timeout(timeout):
                return await self.reader.read()
        except ConnectionError:
            return b""


def post(verb: str, body: object, token: str = "", *headers: str) -> bytes:
    """A whole request, of a verb."""
    content = json.dumps(body).encode()
    lines = [
        f"POST /v1/{verb} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *([f"Authorization: Bearer {token}"] if token else []),
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content
