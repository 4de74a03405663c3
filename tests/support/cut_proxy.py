"""A TCP proxy between a browser and the server that can be cut, and that can refuse WebSockets."""

from __future__ import annotations

import asyncio
from contextlib import suppress

__all__ = ["CutProxy"]


class CutProxy:
    """Listens on a port of the kernel's choice, and on the same one after a cut."""

    def __init__(self, target_port: int, *, websockets: bool = True) -> None:
        self._target_port = target_port
        self._websockets = websockets
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.refused = 0

    async def __aenter__(self) -> CutProxy:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def mend(self) -> None:
        """Connections go through from now on."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Breaks all connections, and refuses new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            first = await reader.read(65536)
            if not self._websockets and b"upgrade: websocket" in first.lower():
                self.refused += 1
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
            there, to_there = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers.add(to_there)
            try:
                to_there.write(first)
                await asyncio.gather(_copy(reader, to_there), _copy(there, writer))
            finally:
                to_there.transport.abort()
                self._writers.discard(to_there)
        except ConnectionError:
            pass
        finally:
            writer.close()
            self._writers.discard(writer)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
