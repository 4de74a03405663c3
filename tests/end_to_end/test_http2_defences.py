"""Clients of HTTP/2 that make work, hold on to what they got, or never end what they began."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from imfast.limits import HTTP_REQUEST_MS
from tests.support.http2 import Http2
from tests.support.server import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ENHANCE_YOUR_CALM = 11
REQUEST_S = HTTP_REQUEST_MS.default / 1000
POST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/v1/ping"),
    (":authority", "127.0.0.1"),
]


class Frames:
    """One connection of frames, whatever they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.encoder = Encoder()

    @classmethod
    async def open(cls, server: Server) -> Frames:
        connection = cls(*await asyncio.open_connection("127.0.0.1", server.ready.http))
        connection.writer.write(PREFACE + SettingsFrame(0).serialize())
        return connection

    async def __aenter__(self) -> Frames:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def write(self, *frames: Frame) -> None:
        self.writer.write(b"".join(frame.serialize() for frame in frames))

    def head(self, stream: int, *flags: str, more: list[tuple[str, str]] | None = None) -> Frame:
        frame = HeadersFrame(stream, self.encoder.encode([*POST, *(more or [])]))
        for flag in flags:
            frame.flags.add(flag)
        return frame

    async def read(self) -> Frame | None:
        """The next frame; None at the end."""
        try:
            header = await self.reader.readexactly(9)
            frame, length = Frame.parse_frame_header(memoryview(header))
            frame.parse_body(memoryview(await self.reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return frame

    async def last_word(self, *, timeout: float = 15.0) -> int | None:
        """The code of GOAWAY at the end of the connection; None without one."""
        code = None
        async with asyncio.timeout(timeout):
            while frame := await self.read():
                if isinstance(frame, GoAwayFrame):
                    code = frame.error_code
        return code


async def flood(connection: Frames, make: Callable[[int], list[Frame]]) -> None:
    """Write frames until the server has had enough."""
    try:
        for number in range(200):
            for at in range(20):
                connection.write(*make(number * 20 + at))
            await connection.writer.drain()
    except ConnectionError:
        pass


def rapid_reset(connection: Frames) -> Callable[[int], list[Frame]]:
    return lambda at: [
        connection.head(2 * at + 1, "END_HEADERS", "END_STREAM"),
        RstStreamFrame(2 * at + 1, error_code=8),
    ]


def made_you_reset(connection: Frames) -> Callable[[int], list[Frame]]:
    """A window that is opened by nothing has the server reset the stream (CVE-2025-8671)."""
    return lambda at: [
        connection.head(2 * at + 1, "END_HEADERS"),
        WindowUpdateFrame(2 * at + 1, window_increment=0x7FFF_FFFF),
    ]


def continuations(connection: Frames) -> Callable[[int], list[Frame]]:
    head = connection.head(1)
    return lambda at: [head if at == 0 else ContinuationFrame(1, b"")]


def empty_data(connection: Frames) -> Callable[[int], list[Frame]]:
    head = connection.head(1, "END_HEADERS")
    return lambda at: [head if at == 0 else DataFrame(1, b"")]


FLOODS: dict[str, Callable[[Frames], Callable[[int], list[Frame]]]] = {
    "rapid reset": rapid_reset,
    "made you reset": made_you_reset,
    "continuations": continuations,
    "empty data": empty_data,
    "pings": lambda _: lambda _: [PingFrame(0, b"12345678")],
    "settings": lambda _: lambda _: [SettingsFrame(0)],
    "priorities": lambda _: lambda at: [PriorityFrame(2 * at + 1, depends_on=0)],
    "windows": lambda _: lambda _: [WindowUpdateFrame(0, window_increment=1)],
}


@pytest.mark.parametrize("name", FLOODS)
async def test_floods_end_their_own_connection(shared: Server, name: str) -> None:
    async with await Http2.open(shared) as bystander, await Frames.open(shared) as connection:
        await flood(connection, FLOODS[name](connection))
        assert await connection.last_word() == ENHANCE_YOUR_CALM
        answer = await bystander.answer(bystander.get("/healthz"))
        assert answer.status == 200


async def test_peer_that_does_not_read_its_answers_to_pings(directory: Path) -> None:
    """It is ended for their number before they fill anything."""
    async with Server(directory, workers=1) as server, await Frames.open(server) as connection:
        await flood(connection, lambda _: [PingFrame(0, b"12345678")] * 10)
        assert await connection.last_word() == ENHANCE_YOUR_CALM


async def test_header_bomb_is_refused_and_the_connection_lives(shared: Server) -> None:
    """One entry of 4 KB that is named by a byte, thousands of times."""
    async with await Frames.open(shared) as connection:
        connection.write(connection.head(1, "END_HEADERS", "END_STREAM", more=[("a", "x" * 3900)]))
        # The same request, without an entry of its own.
        named = b"\x83\x86\x04\x08/v1/ping\x01\x09127.0.0.1" + b"\xbe" * 8000
        for stream in (3, 5):
            frame = HeadersFrame(stream, named)
            frame.flags.add("END_HEADERS")
            frame.flags.add("END_STREAM")
            connection.write(frame)
        connection.write(PingFrame(0, b"thereyet"))
        status = {}
        async with asyncio.timeout(10):
            while answer := await connection.read():
                if isinstance(answer, HeadersFrame):
                    status[answer.stream_id] = answer.data
                if isinstance(answer, PingFrame):
                    break
        # A literal status: 431.
        assert status[3][2:5] == status[5][2:5] == b"431"


SLOW = ("--authenticate-timeout-s", "1s", "--heartbeat-s", "2s")


async def test_what_is_begun_and_not_ended_is_given_up(directory: Path) -> None:
    async with Server(directory, *SLOW, workers=1) as server:
        token = await server.token("dripping")
        async with asyncio.TaskGroup() as group:
            for known in (False, True):
                bearer = [("authorization", f"Bearer {token}")] if known else []
                for what in (half_a_frame, half_a_block):
                    group.create_task(drip_connection(server, bearer, what))
            group.create_task(drip_body(server, token))
            group.create_task(answer_nobody(server, token))
            group.create_task(answer_no_ping(server, token))
            group.create_task(shut_windows(server, token))


async def known(connection: Frames, bearer: list[tuple[str, str]]) -> int:
    """Make the client known, if there is something to know it by; the next stream."""
    if not bearer:
        return 1
    json_type = [("content-type", "application/json"), *bearer]
    body = DataFrame(1, b"{}")
    body.flags.add("END_STREAM")
    connection.write(connection.head(1, "END_HEADERS", more=json_type), body)
    async with asyncio.timeout(10):
        while frame := await connection.read():
            if isinstance(frame, DataFrame) and "END_STREAM" in frame.flags:
                return 3
    raise AssertionError("no answer")


def half_a_frame(connection: Frames, stream: int) -> bytes:
    return connection.head(stream, "END_HEADERS").serialize()[:-40]


def half_a_block(connection: Frames, stream: int) -> bytes:
    return connection.head(stream).serialize()


async def drip_connection(
    server: Server, bearer: list[tuple[str, str]], what: Callable[[Frames, int], bytes]
) -> None:
    async with await Frames.open(server) as connection:
        stream = await known(connection, bearer)
        began = time.monotonic()
        connection.writer.write(what(connection, stream))
        assert await connection.last_word() == 0
        assert time.monotonic() - began < (REQUEST_S if bearer else 1) + 6


async def drip_body(server: Server, token: str) -> None:
    """A body that does not end costs its stream; others on the connection go on."""
    async with await Http2.open(server) as connection:
        assert (await connection.ask("ping", {}, token))["serverTimeMs"]
        began = time.monotonic()
        json_type = ("content-type", "application/json")
        stream = connection.begin("POST", "/v1/ping", json_type, token=token)
        while not stream.over:
            connection.send(stream, b" ", end=False)
            assert (await connection.ask("ping", {}, token))["serverTimeMs"]
            await asyncio.sleep(0.05)
        assert (stream.status, stream.ended) == (408, True)
        assert time.monotonic() - began < 1 + 6


async def answer_nobody(server: Server, token: str) -> None:
    """Without a stream a known connection ends after a silence; nothing is lost with it."""
    async with await Http2.open(server) as connection:
        assert (await connection.ask("ping", {}, token))["serverTimeMs"]
        assert await connection.ends() == 0


async def answer_no_ping(server: Server, token: str) -> None:
    """A peer that is gone takes its streams along."""
    async with await Frames.open(server) as frames:
        head = [(":method", "GET"), *POST[1:2], (":path", "/v1/events"), *POST[3:]]
        block = frames.encoder.encode([*head, ("authorization", f"Bearer {token}")])
        events = HeadersFrame(1, block)
        events.flags.add("END_HEADERS")
        events.flags.add("END_STREAM")
        frames.write(events)
        pings = 0
        async with asyncio.timeout(20):
            while frame := await frames.read():
                pings += isinstance(frame, PingFrame)
        assert pings == 1


async def shut_windows(server: Server, token: str) -> None:
    """Requests whose answers nobody lets come end in time, and hold nothing meanwhile."""
    async with await Frames.open(server) as connection:
        connection.write(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 0}))
        bearer = [("content-type", "application/json"), ("authorization", f"Bearer {token}")]
        for stream in range(1, 41, 2):
            body = DataFrame(stream, b"{}")
            body.flags.add("END_STREAM")
            connection.write(connection.head(stream, "END_HEADERS", more=bearer), body)
        reset: set[int] = set()
        began = time.monotonic()
        async with asyncio.timeout(60):
            while len(reset) < 20:
                frame = await connection.read()
                assert frame, "the connection ended"
                assert not (isinstance(frame, DataFrame) and frame.data)
                if isinstance(frame, RstStreamFrame):
                    reset.add(frame.stream_id)
                if isinstance(frame, PingFrame):
                    connection.write(PingFrame(0, frame.opaque_data, flags=("ACK",)))
        assert 8 < time.monotonic() - began < 25
