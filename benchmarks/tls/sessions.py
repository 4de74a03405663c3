"""Sessions over framed TCP, plain or within TLS, that read and forget what they are sent."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from imfast.client.codec import ProtobufCodec
from tests.support.server import Server

__all__ = ["Reader", "open_readers"]


class Reader(asyncio.BufferedProtocol):
    """Counts the bytes it gets, and keeps the first few."""

    def __init__(self) -> None:
        self.received = 0
        self.transport: Any = None
        self._buffer = bytearray(256 * 1024)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes


async def open_readers(
    server: Server, users: list[str], context: ssl.SSLContext | None, *, at_once: int = 8
) -> list[Reader]:
    """One session for each user; returns when all are answered."""
    loop = asyncio.get_running_loop()
    codec = ProtobufCodec()
    gate = asyncio.Semaphore(at_once)
    tokens = {user: await server.token(user) for user in set(users)}

    async def one(user: str) -> Reader:
        async with gate:
            _, reader = await loop.create_connection(
                Reader,
                "127.0.0.1",
                server.ready.tcp,
                ssl=context,
                server_hostname="localhost" if context else None,
            )
            frame = codec.encode_bare({"id": 1, "connect": {"token": tokens[user]}})
            reader.transport.write(len(frame).to_bytes(4, "big") + frame)
            while not reader.received:  # noqa: ASYNC110 - it counts bytes, no more
                await asyncio.sleep(0.002)
            return reader

    return await asyncio.gather(*map(one, users))
