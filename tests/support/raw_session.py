"""One connection over any transport, byte by byte: it says exactly what it is told to, and no more.

It answers no ping, takes any size, and shows how the server ended the connection.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

from imfast.client.codec import Codec, Frame, JsonCodec, ProtobufCodec
from imfast.client.protobuf import put_varint
from tests.support.server import Server

__all__ = ["TRANSPORTS", "Ending", "HandshakeRefusedError", "RawSession"]

TRANSPORTS = ("json", "protobuf", "tcp")
UNKNOWN_FIELD = 1000
TEXT, BINARY, CLOSE = 1, 2, 8

# A device has one session: each connection is another one.
_devices = itertools.count(1)


class HandshakeRefusedError(Exception):
    """The server answered the upgrade with another status."""

    def __init__(self, head: str) -> None:
        super().__init__(head)
        self.head = head
        self.status = int(head.split(" ", 2)[1])


@dataclass
class Ending:
    """How the server ended a connection."""

    close_code: int | None = None
    """Of the WebSocket close frame."""
    frames: list[Frame] = field(default_factory=list)
    """What it said before."""

    def code_name(self, transport: str) -> str | int | None:
        """What tells why: the close code, or over TCP the name in the last frame."""
        if transport != "tcp":
            return self.close_code
        errors = [frame["error"]["name"] for frame in self.frames if "error" in frame]
        return errors[-1] if errors else None


class RawSession:
    """Reads and writes whole frames; not authenticated by itself."""

    def __init__(
        self, transport: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.transport = transport
        self._reader = reader
        self._writer = writer
        self._codec: Codec = JsonCodec() if transport == "json" else ProtobufCodec()
        self._ending: int | None = None
        self._frames: list[Frame] = []

    @classmethod
    async def bare(cls, server: Server, transport: str) -> RawSession:
        """Connect, and ask nothing: no upgrade either."""
        port = server.ready.tcp if transport == "tcp" else server.ready.http
        return cls(transport, *await asyncio.open_connection("127.0.0.1", port))

    @classmethod
    async def open(cls, server: Server, transport: str, *, head_bytes: int = 0) -> RawSession:
        """Connect; with `head_bytes` the head of the request has exactly so many."""
        session = await cls.bare(server, transport)
        if transport != "tcp":
            try:
                await session._upgrade(head_bytes)
            except BaseException:
                session.close()
                raise
        return session

    @classmethod
    async def connect(
        cls, server: Server, transport: str, user: str, *, token: str | None = None
    ) -> RawSession:
        """Connect and authenticate."""
        # The time to authenticate runs once the connection stands.
        token = token or await server.token(user)
        session = await cls.open(server, transport)
        reply = await session.request(
            1, {"connect": {"token": token, "device": f"d-{next(_devices)}"}}
        )
        assert "connected" in reply, reply
        return session

    async def __aenter__(self) -> RawSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        self._writer.close()

    def abort(self) -> None:
        """Drop the connection with a reset, whatever is still unread."""
        # On for zero seconds: close() resets (socket(7), SO_LINGER).
        option = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, option
        )
        self._writer.transport.abort()

    def finish(self) -> None:
        """Say that nothing more is written; what comes is still read."""
        self._writer.write_eof()

    def encode(self, frame: Frame, *, size: int = 0) -> bytes:
        """A message with one frame; with `size` it has exactly so many bytes."""
        if self.transport == "json":
            text = self._codec.encode(frame)
            if size:
                text = text[:-1] + b',"pad":"' + b"x" * (size - len(text) - 9) + b'"}'
            assert not size or len(text) == size, "the frame is larger already"
            return text
        codec = ProtobufCodec()
        bare = codec.encode_bare(frame)
        prefixed = self.transport == "protobuf"
        if size:
            bare = _padded(bare, size, prefixed=prefixed)
        out = bytearray()
        if prefixed:
            put_varint(out, len(bare))
        return bytes(out) + bare

    def write(self, *messages: bytes) -> None:
        """Write messages, in one piece."""
        for message in messages:
            self._writer.write(self.head(len(message)))
            self._writer.write(message)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._writer.write(data)

    def head(self, length: int) -> bytes:
        """The head of a message of that length."""
        opcode = TEXT if self.transport == "json" else BINARY
        return struct.pack(">I", length) if self.transport == "tcp" else _head(opcode, length)

    def announce(self, length: int) -> None:
        """Write only the head of a message of that length."""
        self._writer.write(self.head(length))

    async def request(self, number: int, verb: Frame, *, size: int = 0) -> Frame:
        """Ask, and return the answer."""
        self.write(self.encode({"id": number, **verb}, size=size))
        return await self.answer(number)

    async def answer(self, number: int) -> Frame:
        """Read until the answer to a request; pushes are dropped."""
        return (await self.until_answer(number))[-1]

    async def next_frames(self) -> list[Frame]:
        """Read what comes next."""
        async with asyncio.timeout(10):
            while not self._frames:
                assert await self._receive(), f"ended with {self._ending}"
        frames, self._frames = self._frames, []
        return frames

    async def until_answer(self, number: int) -> list[Frame]:
        """Read up to the answer to a request, which is the last frame returned."""
        frames: list[Frame] = []
        async with asyncio.timeout(10):
            while not frames or frames[-1].get("id") != number:
                while not self._frames:
                    assert await self._receive(), f"ended with {self._ending}, not answered"
                frames.append(self._frames.pop(0))
        return frames

    async def ending(self, *, timeout: float = 10) -> Ending:
        """Wait for the server to end the connection."""
        async with asyncio.timeout(timeout):
            while await self._receive():
                pass
        return Ending(self._ending, self._frames)

    async def silence(self, *, timeout: float = 10) -> None:
        """Wait for the server to end the connection, whatever it says before."""
        async with asyncio.timeout(timeout):
            while await self._reader.read(4096):
                pass

    async def ended(self) -> bool:
        """Whether the server has ended the connection; waits for its answer to a ping if not."""
        try:
            await self.request(99, {"ping": {}})
        except (AssertionError, ConnectionError):
            return True
        return False

    async def _receive(self) -> bool:
        """Read some frames; False at the end."""
        try:
            if self.transport == "tcp":
                length = int.from_bytes(await self._reader.readexactly(4), "big")
                data = await self._reader.readexactly(length)
                assert isinstance(self._codec, ProtobufCodec)
                self._frames.append(self._codec.decode_bare(data))
                return True
            first, length = await self._reader.readexactly(2)
            if length >= 126:
                wide = await self._reader.readexactly(2 if length == 126 else 8)
                length = int.from_bytes(wide, "big")
            data = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        if first & 0x0F == CLOSE:
            self._ending = int.from_bytes(data[:2], "big")
        elif first & 0x0F in (TEXT, BINARY):
            self._frames += self._codec.decode(data)
        return True

    async def _upgrade(self, head_bytes: int) -> None:
        lines = [
            "GET /v1/ws HTTP/1.1",
            "Host: 127.0.0.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {self._codec.subprotocol}",
        ]
        if head_bytes:
            least = sum(len(line) + 2 for line in lines) + 2
            lines.append("X: " + "y" * (head_bytes - least - 5))
        head = "\r\n".join([*lines, "", ""]).encode()
        assert not head_bytes or len(head) == head_bytes
        self._writer.write(head)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        if not answer.startswith("HTTP/1.1 101"):
            raise HandshakeRefusedError(answer)


def _head(opcode: int, length: int) -> bytes:
    """A client's frame head with a mask of zeros (RFC 6455, section 5.2)."""
    if length < 126:
        head = bytes([0x80 | opcode, 0x80 | length])
    elif length < 65536:
        head = bytes([0x80 | opcode, 0x80 | 126]) + struct.pack(">H", length)
    else:
        head = bytes([0x80 | opcode, 0x80 | 127]) + struct.pack(">Q", length)
    return head + bytes(4)


def _padded(bare: bytes, size: int, *, prefixed: bool) -> bytes:
    """The frame with an unknown field that makes it, with its length if need be, `size` bytes."""

    def varint(value: int) -> bytes:
        out = bytearray()
        put_varint(out, value)
        return bytes(out)

    tag: Any = varint(UNKNOWN_FIELD << 3 | 2)
    for length in range(size - len(bare) - 12, size - len(bare)):
        padded = bare + tag + varint(length) + bytes(length)
        if len(padded) + (len(varint(len(padded))) if prefixed else 0) == size:
            return padded
    raise AssertionError("no padding gives this size")
