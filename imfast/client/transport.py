"""Connections that carry frames: WebSocket and TCP.

A transport opens, sends and receives, and says why it ended; it knows no verb. Keep-alive is not
its business: answering the server's WebSocket pings is done by the ``websockets`` library, and
the session sends its own ``ping`` verb. (The library's own keep-alive would take a connection for
dead whose reading is paused, because the pong waits behind unread messages.)
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl as ssl_module
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from .codec import Codec, Frame, JsonCodec, ProtobufCodec
from .errors import ProtocolError

__all__ = ["Transport", "TransportClosedError", "check_url", "open_transport"]

# A history page of full-size bodies fits; anything larger is not from our server.
_FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
# What asyncio reads ahead of a TCP connection.
_READ_BYTES: Final = 64 * 1024
# Messages the library reads ahead before it stops reading from the socket.
_READ_AHEAD: Final = 64
_CLOSE_SECONDS: Final = 2.0


class TransportClosedError(Exception):
    """The connection could not be made or has ended. ``code`` is the WebSocket close code.

    ``retry_after`` is the server's wish in seconds, 0 when it has none.
    """

    def __init__(self, message: str, code: int | None = None, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class Transport(Protocol):
    """An open connection. Errors of the network are TransportClosedError."""

    def encode(self, frame: Frame) -> bytes:
        """Encode a client frame. Raises ValueError or TypeError for what cannot be encoded."""
        ...

    async def send(self, data: bytes) -> None:
        """Send one encoded frame; waits while the peer does not read.

        Cancellation while waiting leaves the frame sent whole or not at all.
        """
        ...

    async def receive(self) -> list[Frame]:
        """Wait for the next frames."""
        ...

    async def close(self) -> None:
        """Close, waiting a little for the peer. Never raises for the network's sake."""
        ...


def check_url(url: str) -> SplitResult:
    """Split `url`, or raise ValueError naming what is wrong with it."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss", "tcp", "tls"):
        raise ValueError(f"url {url!r}: scheme must be ws, wss, tcp or tls")
    if not parts.hostname:
        raise ValueError(f"url {url!r}: host is missing")
    # Reading the port raises ValueError itself when it is no port.
    if parts.port is None and parts.scheme in ("tcp", "tls"):
        raise ValueError(f"url {url!r}: port is missing")
    return parts


async def open_transport(
    url: str, *, protobuf: bool, ssl: ssl_module.SSLContext | None = None
) -> Transport:
    """Connect to `url`; TCP always speaks protobuf. ``tls`` is TCP within TLS."""
    parts = check_url(url)
    if parts.scheme in ("tcp", "tls"):
        context = (ssl or ssl_module.create_default_context()) if parts.scheme == "tls" else None
        try:
            reader, writer = await asyncio.open_connection(
                parts.hostname, parts.port, ssl=context, limit=_READ_BYTES
            )
        except OSError as error:
            raise TransportClosedError(str(error)) from error
        return TcpTransport(reader, writer)
    codec: Codec = ProtobufCodec() if protobuf else JsonCodec()
    if parts.path in ("", "/"):
        parts = parts._replace(path="/v1/ws")
    # The library refuses a context for ws://, and takes none for the system's default one.
    options: dict[str, Any] = {}
    if parts.scheme == "wss" and ssl is not None:
        options["ssl"] = ssl
    try:
        websocket = await websocket_connect(
            parts.geturl(),
            subprotocols=[Subprotocol(codec.subprotocol)],
            compression=None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=_CLOSE_SECONDS,
            max_size=_FRAME_BYTES_MAX,
            max_queue=_READ_AHEAD,
            **options,
        )
    except InvalidStatus as error:
        wish = error.response.headers.get("Retry-After", "")
        # The other form, a date, is of no use without the server's clock.
        seconds = float(wish) if wish.isdecimal() else 0.0
        raise TransportClosedError(str(error), retry_after=seconds) from error
    except (OSError, InvalidHandshake, EOFError) as error:
        raise TransportClosedError(str(error) or type(error).__name__) from error
    if protobuf and websocket.subprotocol != codec.subprotocol:
        await websocket.close()
        raise TransportClosedError(f"the server does not speak {codec.subprotocol}", 1002)
    return WebSocketTransport(websocket, codec)


class WebSocketTransport:
    """Frames over the ``websockets`` library."""

    def __init__(self, websocket: ClientConnection, codec: Codec) -> None:
        self._websocket = websocket
        self._codec = codec

    def encode(self, frame: Frame) -> bytes:
        return self._codec.encode(frame)

    async def send(self, data: bytes) -> None:
        try:
            await self._websocket.send(data, text=self._codec.text)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def receive(self) -> list[Frame]:
        try:
            data = await self._websocket.recv(decode=False)
        except ConnectionClosed as error:
            raise _closed(error) from error
        return self._codec.decode(data)

    async def close(self) -> None:
        await self._websocket.close()


def _closed(error: ConnectionClosed) -> TransportClosedError:
    if error.rcvd is None:
        return TransportClosedError(str(error))
    return TransportClosedError(error.rcvd.reason or str(error), error.rcvd.code)


class TcpTransport:
    """A u32 big-endian length, then that many bytes of protobuf."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._codec = ProtobufCodec()

    def encode(self, frame: Frame) -> bytes:
        return self._codec.encode_bare(frame)

    async def send(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise TransportClosedError("the connection is closed")
        self._writer.write(len(data).to_bytes(4, "big") + data)
        try:
            await self._writer.drain()
        except OSError as error:
            raise TransportClosedError(str(error)) from error

    async def receive(self) -> list[Frame]:
        try:
            length = int.from_bytes(await self._reader.readexactly(4), "big")
            if length > _FRAME_BYTES_MAX:
                raise ProtocolError(f"frame of {length} bytes is longer than {_FRAME_BYTES_MAX}")
            data = await self._reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            raise TransportClosedError("the server closed the connection") from error
        except OSError as error:
            raise TransportClosedError(str(error)) from error
        return [self._codec.decode_bare(data)]

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._writer.wait_closed()
