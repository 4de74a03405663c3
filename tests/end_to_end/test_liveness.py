"""Peers that are not there any more, and strangers who say nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from imfast.client import Options, connect
from tests.end_to_end.test_hostile_input import open_websocket
from tests.support.plain_client import PlainClient
from tests.support.server import Server

HEARTBEAT_SECONDS = 1.0
AUTHENTICATE_SECONDS = 1.0
# Twice the heartbeat, and what the clocks and a busy machine add.
GONE_SECONDS = 2 * HEARTBEAT_SECONDS + 3.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def impatient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that waits for nobody."""
    flags = ["--heartbeat-s", f"{HEARTBEAT_SECONDS}s"]
    flags += ["--authenticate-timeout-s", f"{AUTHENTICATE_SECONDS}s"]
    async with Server(tmp_path_factory.mktemp("impatient"), *flags) as server:
        yield server


async def end_of(reader: asyncio.StreamReader, seconds: float) -> float:
    """Wait for the server to close; return after how long."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(seconds):
        try:
            while await reader.read(4096):
                pass
        except ConnectionError:
            pass
    return loop.time() - began


async def test_half_open_websocket_is_given_up(impatient: Server) -> None:
    """It authenticates and then neither speaks nor answers a ping, like a peer without power."""
    token = await impatient.token("half-open")
    reader, writer = await open_websocket(impatient)
    frame = json.dumps({"id": 1, "connect": {"token": token}}).encode()
    head = b"\x81" + bytes([0x80 | 126]) + len(frame).to_bytes(2, "big")
    writer.write(head + bytes(4) + frame)
    assert b"connected" in await asyncio.wait_for(reader.read(4096), 5)
    took = await end_of(reader, GONE_SECONDS)
    assert took >= HEARTBEAT_SECONDS, "it is given its time"
    writer.close()


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
async def test_idle_client_that_pings_stays(impatient: Server, scheme: str) -> None:
    token = await impatient.token("idle")
    async with connect(impatient.url(scheme), token=token) as im:
        session = im.connected.session
        await asyncio.sleep(GONE_SECONDS)
        await im.ping()
        assert im.connected.session == session


async def test_idle_peer_that_answers_pings_stays(impatient: Server) -> None:
    """The public library answers the server's WebSocket pings and says nothing itself."""
    async with await PlainClient.connect(impatient, "answers-pings") as client:
        await asyncio.sleep(GONE_SECONDS)
        await client.request("ping", {})


async def test_client_notices_a_server_that_hangs(directory_server: Server) -> None:
    """Its worker stands still: the client leaves and goes on with the other one."""
    server = directory_server
    options = Options(heartbeat=0.5, backoff_cap=0.2)
    async with connect(server.url(), token=await server.token("a"), options=options) as im:
        index = server.index_of(im.connected.server)
        session = im.connected.session
        server.pause(index)
        sent = await im.send("b", text="in spite of it", timeout=20)
        assert sent.seq == 1
        assert im.connected.session != session
    await server.restarted()


@pytest_asyncio.fixture
async def directory_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with Server(tmp_path_factory.mktemp("hangs")) as server:
        yield server


async def test_silent_websocket_is_closed_after_the_time_to_authenticate(
    impatient: Server,
) -> None:
    client = await PlainClient.dial(impatient)
    assert await client.wait_closed(timeout=AUTHENTICATE_SECONDS + 4) == 4002
    await client.close()


@pytest.mark.parametrize("port", ["http", "tcp"])
@pytest.mark.parametrize("said", [b"", b"G", b"\x00\x00"])
async def test_silent_connection_is_closed_after_the_time_to_authenticate(
    impatient: Server, port: str, said: bytes
) -> None:
    number = getattr(impatient.ready, port)
    reader, writer = await asyncio.open_connection("127.0.0.1", number)
    writer.write(said)
    await end_of(reader, AUTHENTICATE_SECONDS + 4)
    writer.close()


async def test_trickle_does_not_prolong_the_time_to_authenticate(impatient: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient.ready.http)

    async def trickle() -> None:
        for byte in b"GET /v1/ws HTTP/1.1\r\n" + b"X-Slow: 1\r\n" * 1000:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.1)

    trickling = asyncio.create_task(trickle())
    await end_of(reader, AUTHENTICATE_SECONDS + 4)
    trickling.cancel()
    writer.close()
