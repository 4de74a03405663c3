"""Seen from the kernel: what a fan-out of many messages to many subscribers asks of it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.attach import Attached, require_attach
from tests.support.plain_client import PlainClient
from tests.support.server import Server
from tests.support.strace import Call, parse

SUBSCRIBERS = 1000
MESSAGES = 32
IOVECS_MAX = 2
WRITES = ("write", "writev", "sendto", "sendmsg", "sendmmsg")


@contextmanager
def subscribers(server: Server, token: str, count: int) -> Iterator[list[socket.socket]]:
    """Sessions of one user over bare sockets, caught up: a thousand clients would cost a minute."""
    connect = json.dumps({"id": 1, "connect": {"token": token}}).encode()
    # A text frame (RFC 6455 section 5.2) masked with zeroes.
    frame = b"\x81" + bytes([0x80 | 126]) + len(connect).to_bytes(2, "big") + bytes(4) + connect
    upgrade = (
        b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", server.ready.http), timeout=30)
            sockets.append(one)
            one.sendall(upgrade)
            read_until(one, b"\r\n\r\n")
            one.sendall(frame)
        for one in sockets:
            read_until(one, b'"caughtUp"')
        yield sockets
    finally:
        for one in sockets:
            one.close()


def read_until(one: socket.socket, wanted: bytes) -> None:
    received = b""
    while wanted not in received:
        part = one.recv(65536)
        assert part, f"the server closed before {wanted!r}"
        received += part


@pytest.mark.timeout(120)
@pytest.mark.parametrize("coalesce", ["adaptive", "50ms", "0"])
async def test_messages_that_are_queued_together_are_one_write_to_each_subscriber(
    directory: Path, coalesce: str
) -> None:
    require_attach("how many writes a fan-out takes")
    count = SUBSCRIBERS if coalesce == "adaptive" else 20
    async with (
        Server(directory, "--coalesce", coalesce, workers=1) as server,
        AsyncExitStack() as stack,
    ):
        publisher = await stack.enter_async_context(await PlainClient.connect(server, "publisher"))
        group = await publisher.create_group("all", "reader")
        token = await server.token("reader")
        sockets = stack.enter_context(subscribers(server, token, count))
        tracer = Attached(
            server.worker(0).pid,
            directory / "strace.txt",
            *("-ttt", "-s", "64", "-e", f"trace={','.join(WRITES)}"),
        )
        async with tracer:
            # One WebSocket message: the server reads all of them at once.
            requests = (
                ("send", {"to": {"group": group}, "key": f"k-{number}", "text": f"m-{number}."})
                for number in range(MESSAGES)
            )
            await asyncio.gather(*publisher.post_all(*requests))
            last = f"m-{MESSAGES - 1}.".encode()
            async with asyncio.timeout(60):
                for one in sockets:
                    await asyncio.to_thread(read_until, one, last)
        calls: dict[str, list[Call]] = defaultdict(list)
        for call in parse(tracer.output.read_text(errors="replace")):
            calls[call.arguments.partition(",")[0]].append(call)
        of_messages = {
            descriptor: [call for call in of_one if '{\\"message\\"' in call.arguments]
            for descriptor, of_one in calls.items()
            # The publisher is answered, and has them too.
            if not any('\\"sent\\"' in call.arguments for call in of_one)
        }
        writes_of = [of_one for of_one in of_messages.values() if of_one]
        assert len(writes_of) == count
        for of_one in writes_of:
            if coalesce == "0":
                # Each its own, but for those that met a checkpoint on its way.
                assert 1 < len(of_one) <= MESSAGES, of_one
                continue
            assert len(of_one) == 1, of_one
            assert all(iovecs(call) <= IOVECS_MAX for call in of_one), of_one


def iovecs(call: Call) -> int:
    found = re.search(r"msg_iovlen=(\d+)", call.arguments)
    return int(found[1]) if found else 1
