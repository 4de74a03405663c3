"""Rates of connections and requests: who is above one is told when to come back, and nobody else.

Buckets are small and fill slowly, so that what the machine does meanwhile adds no token.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from imfast.client import Options, connect
from imfast.client.protobuf import decode
from tests.support.raw_session import TRANSPORTS, Frame, RawSession
from tests.support.server import Server

BURST = 8
SCHEMES = ("ws", "tcp")
UPGRADE = (
    b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
WELCOME = b"HTTP/1.1 101"


def limited(directory: Path, *flags: str, burst_s: float = BURST) -> Server:
    """One worker: rates are of each."""
    arguments = (*flags, "--rate-burst-s", f"{burst_s}s")
    return Server(directory, *arguments, workers=1, durability="os")


async def ask(session: RawSession, requests: list[Frame]) -> list[Frame]:
    """Write requests in one piece and return their answers."""
    numbers = range(1000, 1000 + len(requests))
    frames = ({"id": number, **one} for number, one in zip(numbers, requests, strict=True))
    session.write(*map(session.encode, frames))
    return [await session.answer(number) for number in numbers]


def refused(answers: list[Frame]) -> int:
    """How many were refused for a rate; each says a wait within the time to fill a bucket."""
    errors = [answer["error"] for answer in answers if "error" in answer]
    for error in errors:
        assert (error["code"], error["name"]) == (4003, "rate_limited")
        assert error["retryable"]
        assert 1 <= error["retryAfterMs"] <= BURST * 1000
    return len(errors)


PING: Frame = {"ping": {}}


async def test_connection_above_its_rate_is_told_so_and_goes_on(directory: Path) -> None:
    async with limited(directory, "--connection-rate", "1") as server:
        for transport in TRANSPORTS:
            async with (
                await RawSession.connect(server, transport, "alice") as first,
                await RawSession.connect(server, transport, "alice") as second,
            ):
                answers = await ask(first, [PING] * (BURST + 4))
                # The connect took a token; a slow machine may have given one or two back.
                assert 3 <= refused(answers) <= 5
                assert "error" not in answers[0]
                assert refused(await ask(second, [PING])) == 0, "each connection has its own"
                wait_ms = answers[-1]["error"]["retryAfterMs"]
                await asyncio.sleep(wait_ms / 1000)
                assert refused(await ask(first, [PING])) == 0, "it came when it was told to"


async def test_users_connections_share_a_rate_and_other_users_do_not(directory: Path) -> None:
    async with (
        limited(directory, "--user-rate", "1") as server,
        await RawSession.connect(server, "json", "alice") as first,
        await RawSession.connect(server, "tcp", "alice") as second,
        await RawSession.connect(server, "protobuf", "bob") as bob,
    ):
        hello = {"send": {"to": {"user": "bob"}, "text": "hi"}}
        assert refused(await ask(first, [hello] * BURST)) == 0
        # Every verb counts, hot or not.
        history = {"conversations": {}}
        assert refused(await ask(second, [history, PING, hello, hello])) >= 3
        assert refused(await ask(bob, [PING])) == 0


async def test_groups_rate_counts_its_members_writes(directory: Path) -> None:
    async with (
        limited(directory, "--group-rate", "1") as server,
        await RawSession.connect(server, "json", "alice") as alice,
        await RawSession.connect(server, "tcp", "bob") as bob,
        await RawSession.connect(server, "json", "eve") as eve,
    ):
        [made] = await ask(alice, [{"group": {"create": {"key": "g", "members": ["bob"]}}}])
        group = made["group"]["conversation"]

        def hello(key: str = "", *, ephemeral: bool = False) -> Frame:
            content = {"to": {"group": group}, "text": "hi", "key": key, "ephemeral": ephemeral}
            return {"send": content}

        strangers = await ask(eve, [hello()] * 3 * BURST)
        assert {one["error"]["name"] for one in strangers} == {"not_a_member"}
        first = await ask(alice, [hello("first"), *[hello()] * (BURST // 2 - 1)])
        assert refused(first) == 0, "strangers took nothing from the group"
        assert refused(await ask(bob, [hello(ephemeral=True)] * BURST)) >= BURST // 2 - 2
        assert refused(await ask(bob, [hello("mine"), hello("other")])) >= 1
        [again] = await ask(alice, [hello("first")])
        assert again["sent"]["duplicate"], "a retry gets its result, whatever the rate"
        seq = first[-1]["sent"]["seq"]
        assert refused(await ask(bob, [{"ack": {"conversation": group, "seq": seq}}] * 9)) == 0
        direct = {"send": {"to": {"user": "bob"}, "text": "hi"}}
        assert refused(await ask(alice, [direct] * 2 * BURST)) == 0


async def test_our_client_waits_as_told_and_gets_everything_through(directory: Path) -> None:
    count, rate = 30, 20
    async with limited(directory, "--user-rate", str(rate), burst_s=0.25) as server:
        for scheme in SCHEMES:
            token = await server.token(scheme)
            began = time.monotonic()
            async with connect(server.url(scheme), token=token) as im:
                sent = await asyncio.gather(*(im.send("bob", json=n) for n in range(count)))
            assert sorted(one.seq for one in sent) == list(range(1, count + 1))
            assert time.monotonic() - began >= (count - rate * 0.25) / rate


@contextlib.asynccontextmanager
async def arrive(
    port: int, data: bytes, address: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection from one of this machine's addresses, with its first bytes on their way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    writer.write(data)
    try:
        yield reader, writer
    finally:
        writer.close()


async def heads(server: Server, count: int, address: str = "127.0.0.1") -> list[bytes]:
    """What so many WebSocket clients are told whose requests came before they were accepted."""
    async with contextlib.AsyncExitStack() as stack:
        server.pause(0)
        try:
            readers = []
            for _ in range(count):
                opened = arrive(server.ready.http, UPGRADE, address)
                readers.append((await stack.enter_async_context(opened))[0])
        finally:
            server.resume(0)
        async with asyncio.timeout(10):
            return [await reader.readuntil(b"\r\n\r\n") for reader in readers]


def seconds_told(head: bytes) -> int:
    """The value of Retry-After."""
    [line] = [line for line in head.split(b"\r\n") if line.startswith(b"Retry-After: ")]
    return int(line.partition(b": ")[2])


async def test_address_above_its_rate_is_sent_away_and_others_are_not(directory: Path) -> None:
    flags = ("--address-rate", "1", "--address-trusted", "127.0.0.3")
    async with limited(directory, *flags) as server:
        told = await heads(server, BURST + 4)
        assert [head[:12] for head in told[:BURST]] == [WELCOME] * BURST
        away = [head for head in told if head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")]
        assert 2 <= len(away) <= 4
        assert all(1 <= seconds_told(head) <= BURST for head in away)

        # Over TCP the reason comes without a request.
        async with arrive(server.ready.tcp, b"") as (reader, _):
            answer = await asyncio.wait_for(reader.read(), 10)
        error = decode("ServerFrame", answer[4:])["error"]
        assert error["name"] == "rate_limited"
        assert 1 <= error["retryAfterMs"] <= BURST * 1000
        # A WebSocket client that has asked nothing yet is told nothing.
        async with arrive(server.ready.http, b"") as (reader, _):
            assert await asyncio.wait_for(reader.read(), 10) == b""

        others = await heads(server, BURST, "127.0.0.2")
        assert [head[:12] for head in others] == [WELCOME] * BURST
        trusted = await heads(server, 2 * BURST, "127.0.0.3")
        assert [head[:12] for head in trusted] == [WELCOME] * 2 * BURST


async def test_worker_above_its_rate_sends_everybody_away(directory: Path) -> None:
    async with limited(directory, "--accept-rate", "1") as server:
        told = await heads(server, BURST + 2)
        assert [head[:12] for head in told[:BURST]] == [WELCOME] * BURST
        [last] = await heads(server, 1, "127.0.0.2")
        assert last.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert 1 <= seconds_told(last) <= BURST


async def test_our_client_comes_back_when_it_was_told_to(directory: Path) -> None:
    flags = ("--address-rate", "1", "--address-trusted", "none")
    async with limited(directory, *flags, burst_s=1) as server:
        token = await server.token("alice")
        options = Options(backoff_base=0.01, backoff_cap=0.02)
        for scheme in (*SCHEMES, *SCHEMES):
            async with connect(server.url(scheme), token=token, options=options) as alice:
                assert await alice.ping() < 10


async def test_mass_reconnect_from_this_machine_is_let_in_by_default(directory: Path) -> None:
    """Far above address_rate and its burst: loopback is trusted unless told otherwise."""
    async with Server(directory, workers=1, durability="os") as server:
        for _ in range(30):
            async with contextlib.AsyncExitStack() as stack:
                opened = [
                    stack.enter_async_context(arrive(server.ready.http, UPGRADE))
                    for _ in range(100)
                ]
                for reader, _ in await asyncio.gather(*opened):
                    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                    assert head.startswith(WELCOME)
