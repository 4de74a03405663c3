"""HTTP/2 by the public `h2` library, on one connection: many streams, read or left unread."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError

from tests.support.deadline import until
from tests.support.server import Server

__all__ = ["Http2", "Stream"]

Frame = dict[str, Any]


class Stream:
    """One request, and what has come of it so far."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.headers: dict[str, str] = {}
        self.interim = 0
        self.body = bytearray()
        self.ended = False
        self.reset: int | None = None

    @property
    def status(self) -> int:
        """Of the response; 0: there is none yet."""
        return int(self.headers.get(":status", 0))

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.ended or self.reset is not None

    @property
    def content(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def events(self) -> list[Frame]:
        """The server-sent events that are here as a whole."""
        blocks = self.body.decode().split("\n\n")[:-1]
        lines = [line for block in blocks for line in block.split("\n")]
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]

    def rows(self) -> list[Frame]:
        """Messages and events among them."""
        found = [frame.get("message") or frame.get("event") for frame in self.events()]
        return [row for row in found if row]

    async def named(self, name: str) -> Frame:
        """Wait for an event of that kind."""

        def look() -> Frame | None:
            return next((frame[name] for frame in self.events() if name in frame), None)

        return await until(look, f"{name} on a stream", timeout=15)


class Http2:
    """One connection. Windows open again for what was read, unless a test wants it otherwise."""

    def __init__(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        # Headers that no client should send are what some tests are about.
        config = H2Configuration(
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.protocol = H2Connection(config)
        self.streams: dict[int, Stream] = {}
        # Streams whose own windows stay shut.
        self.unread: set[int] = set()
        # The code of GOAWAY, and whether the connection is closed.
        self.terminated: int | None = None
        self.closed = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, server: Server, *, context: ssl.SSLContext | None = None) -> Self:
        """Connect, and say what a client says first."""
        port = server.ready.tls if context else server.ready.http
        name = "localhost" if context else None
        if context:
            context.set_alpn_protocols(["h2"])
        connection = cls(
            server,
            *await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name),
        )
        connection.protocol.initiate_connection()
        connection.flush()
        connection._reading = asyncio.create_task(connection._read())
        # The server's settings allow what they say from now on only.
        await until(
            lambda: connection.protocol.remote_settings.enable_connect_protocol == 1,
            "the server's settings",
        )
        return connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reading:
            self._reading.cancel()
        self.writer.close()

    def flush(self) -> None:
        """Write what the protocol has to say."""
        self.writer.write(self.protocol.data_to_send())

    def begin(
        self,
        method: str,
        path: str,
        *headers: tuple[str, str],
        end: bool = False,
        token: str = "",
    ) -> Stream:
        """Begin a request; `end`: there is no body."""
        number = self.protocol.get_next_available_stream_id()
        stream = self.streams[number] = Stream(number)
        fields = [
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", "127.0.0.1"),
            *([("authorization", f"Bearer {token}")] if token else []),
            *headers,
        ]
        self.protocol.send_headers(number, fields, end_stream=end)
        self.flush()
        return stream

    def send(self, stream: Stream, body: bytes, *, end: bool = True) -> None:
        """Send bytes that the windows have room for."""
        size = self.protocol.max_outbound_frame_size
        pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        for piece in pieces:
            last = end and piece is pieces[-1]
            self.protocol.send_data(stream.number, piece, end_stream=last)
        self.flush()

    def get(self, path: str, *headers: tuple[str, str], token: str = "") -> Stream:
        """Send a GET."""
        return self.begin("GET", path, *headers, end=True, token=token)

    def post(self, verb: str, body: object, token: str, *headers: tuple[str, str]) -> Stream:
        """Ask for a verb."""
        json_type = ("content-type", "application/json")
        stream = self.begin("POST", f"/v1/{verb}", json_type, *headers, token=token)
        self.send(stream, json.dumps(body).encode())
        return stream

    async def answer(self, stream: Stream, *, timeout: float = 10.0) -> Stream:
        """Wait until a stream is over."""
        await until(lambda: stream.over or self.closed.is_set(), "an answer", timeout=timeout)
        return stream

    async def ask(self, verb: str, body: object, token: str) -> Any:
        """Ask for a verb and return what it answers."""
        stream = await self.answer(self.post(verb, body, token))
        assert (stream.status, stream.ended) == (200, True), bytes(stream.body)
        return stream.content

    def open_window(self, stream: Stream, size: int) -> None:
        """Let so many further bytes come on a stream that is not read."""
        self.protocol.increment_flow_control_window(size, stream.number)
        self.flush()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something to be true."""
        await until(condition, what, timeout=15)

    async def ends(self, *, timeout: float = 15.0) -> int | None:
        """Wait until the connection is closed; the code of its GOAWAY."""
        async with asyncio.timeout(timeout):
            await self.closed.wait()
        return self.terminated

    async def _read(self) -> None:
        try:
            while data := await self.reader.read(65_536):
                self._take(self.protocol.receive_data(data))
                self.flush()
        except (ConnectionError, ProtocolError):
            pass
        finally:
            self.closed.set()

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, ConnectionTerminated):
                self.terminated = int(event.error_code or 0)
                continue
            stream = self.streams.get(getattr(event, "stream_id", 0))
            if stream is None:
                continue
            match event:
                case ResponseReceived(headers=headers):
                    stream.headers = {str(k): str(v) for k, v in headers or ()}
                case InformationalResponseReceived(headers=headers):
                    stream.interim = int({str(k): str(v) for k, v in headers or ()}[":status"])
                case DataReceived(data=data, flow_controlled_length=length):
                    stream.body += data or b""
                    if stream.number not in self.unread:
                        self.protocol.acknowledge_received_data(length or 0, stream.number)
                    elif length:
                        self.protocol.increment_flow_control_window(length)
                case StreamEnded():
                    stream.ended = True
                case StreamReset(error_code=code):
                    stream.reset = int(code or 0)
                case _:
                    pass
