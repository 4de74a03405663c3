"""Bytes that no client of ours would send: each costs its own connection and nothing else."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import struct

import pytest

from tests.support.plain_client import Frame, PlainClient, RefusedError
from tests.support.seeds import seeded_random
from tests.support.server import Server

PORTS = ("http", "tcp", "admin")


async def exchange(port: int, data: bytes, *, finish: bool = True, timeout: float = 8.0) -> bytes:
    """Write bytes, read until the server closes, and return what it said.

    Without `finish` our side stays open: the server has to end it by itself.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        if finish:
            writer.write_eof()
        async with asyncio.timeout(timeout):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def open_websocket(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Upgrade a raw connection, so that any bytes can follow."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ready.http)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 101"), head
    return reader, writer


def close_code(data: bytes) -> int:
    """The code of the close frame that ends what a server wrote (RFC 6455, section 5.5.1)."""
    while data:
        opcode, length, offset = data[0] & 0x0F, data[1] & 0x7F, 2
        if length == 126:
            length, offset = struct.unpack(">H", data[2:4])[0], 4
        if opcode == 8:
            return int(struct.unpack(">H", data[offset : offset + 2])[0])
        data = data[offset + length :]
    raise AssertionError("the server closed without a close frame")


def masked(opcode: int, payload: bytes, *, first: int = 0x80, length: int | None = None) -> bytes:
    """A client's frame with a mask of zeros; `length` is what its head claims."""
    size = len(payload) if length is None else length
    head = bytes([first | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + struct.pack(">H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack(">Q", size)
    return head + bytes(4) + payload


BAD_FRAMES: dict[str, tuple[bytes, set[int]]] = {
    "unmasked": (b"\x81\x02{}", {1002}),
    "reserved bit": (masked(1, b"{}", first=0xC0), {1002}),
    "reserved opcode": (masked(3, b""), {1002}),
    "continuation of nothing": (masked(0, b"{}"), {1002}),
    "control frame in pieces": (masked(9, b"", first=0), {1002}),
    "long control frame": (masked(9, bytes(126)), {1002}),
    "close with half a code": (masked(8, b"\x03"), {1002}),
    "close with a code of nobody": (masked(8, struct.pack(">H", 1005)), {1002}),
    "text that is not UTF-8": (masked(1, b'{"id":1,"\xff":1}'), {1007}),
    "binary on a JSON connection": (masked(2, b"\x01\x08"), {1003}),
    "no JSON": (masked(1, b"hello"), {4501}),
    "half a JSON value": (masked(1, b'{"id":1,"ping":{}'), {4501}),
    "no object": (masked(1, b"[1]"), {4501}),
    "deep JSON": (masked(1, b"[" * 5000), {4501}),
    "longer than allowed": (masked(1, b"", length=1 << 20), {1009}),
    "longer than memory": (masked(1, b"", length=(1 << 63) - 1), {1009}),
    "length with the top bit": (masked(1, b"", length=1 << 63), {1002, 1009}),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_bad_websocket_frame_is_closed_with_the_right_code(shared: Server, name: str) -> None:
    data, codes = BAD_FRAMES[name]
    async with await PlainClient.connect(shared, "bystander") as bystander:
        reader, writer = await open_websocket(shared)
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), 8)
        writer.close()
        assert close_code(answer) in codes
        await bystander.request("ping", {})


async def test_oversize_body_is_refused_and_the_connection_goes_on(shared: Server) -> None:
    async with await PlainClient.connect(shared, "big-alice") as alice:
        limit = alice.limits["bodyBytes"]
        assert limit < alice.limits["frameBytes"]
        with pytest.raises(RefusedError) as refused:
            await alice.send({"user": "big-bob"}, "k", "x" * limit)
        assert refused.value.name == "body_too_large"
        assert (await alice.send({"user": "big-bob"}, "k2", "small"))["seq"] == 1


async def test_largest_body_goes_through_whole(shared: Server) -> None:
    async with await PlainClient.connect(shared, "large-alice") as alice:
        content = "x" * (alice.limits["bodyBytes"] - 2)  # two quotes belong to the JSON
        sent = await alice.send({"user": "large-bob"}, "k", content)
        [row] = [row for row in await alice.history(sent["conversation"]) if "message" in row]
        assert row["message"]["json"] == content


@pytest.mark.parametrize("verb", ["frobnicate", "group"])
async def test_unknown_verb_is_answered_and_the_connection_goes_on(
    shared: Server, verb: str
) -> None:
    async with await PlainClient.connect(shared, "later-alice") as alice:
        with pytest.raises(RefusedError) as refused:
            await alice.request(verb, {"frobnicate": {}})
        assert refused.value.name in ("unsupported", "invalid_argument")
        await alice.write(json.dumps({"ping": {"unknown": [1]}, "more": 5}))
        await alice.request("ping", {})


BAD_SENDS: dict[str, Frame] = {
    "nobody": {"json": 1},
    "two bodies": {"to": {"user": "b"}, "json": 1, "text": "a"},
    "no body": {"to": {"user": "b"}},
    "two targets": {"to": {"user": "b", "group": "g.x"}, "json": 1},
    "empty user": {"to": {"user": ""}, "json": 1},
    "long user": {"to": {"user": "x" * 129}, "json": 1},
    "user with a control": {"to": {"user": "a\u0007"}, "json": 1},
    "user is a number": {"to": {"user": 5}, "json": 1},
    "bad base64": {"to": {"user": "b"}, "base64": "?"},
    "negative ttl": {"to": {"user": "b"}, "json": 1, "ttlMs": -1},
    "long key": {"to": {"user": "b"}, "json": 1, "key": "k" * 129},
}


@pytest.mark.parametrize("name", BAD_SENDS)
async def test_send_that_makes_no_sense_is_refused_by_name(shared: Server, name: str) -> None:
    async with await PlainClient.connect(shared, "senseless-alice") as alice:
        with pytest.raises(RefusedError) as refused:
            await alice.request("send", {"key": "k", **BAD_SENDS[name]})
        assert 1000 <= refused.value.code < 2000
        assert not refused.value.retryable
        await alice.request("ping", {})


@pytest.mark.parametrize("conversation", ["d.AAAAAAAAAAAAAAAAAAAAAA", "g.AAAAAAAAAAAAAAAAAAAAAA"])
async def test_conversation_of_strangers_and_none_at_all_look_the_same(
    shared: Server, conversation: str
) -> None:
    async with (
        await PlainClient.connect(shared, "stranger-alice") as alice,
        await PlainClient.connect(shared, "stranger-eve") as eve,
    ):
        group = await alice.create_group("secret", "stranger-bob")
        refusals = []
        for target in (group, conversation):
            for verb, body in (
                ("history", {"conversation": target}),
                ("send", {"to": {"conversation": target}, "key": "k", "json": 1}),
                ("ack", {"conversation": target, "seq": 1}),
                ("group", {"leave": {"conversation": target, "key": "k"}}),
                ("group", {"members": {"conversation": target}}),
            ):
                with pytest.raises(RefusedError) as refused:
                    await eve.request(verb, body)
                refusals.append(refused.value.args[0])
        assert refusals[: len(refusals) // 2] == refusals[len(refusals) // 2 :]


def garbage(fate: random.Random) -> bytes:
    """Bytes of several kinds: noise, half requests, huge lengths."""
    noise = fate.randbytes(fate.randrange(1, 4096))
    return fate.choice(
        [
            noise,
            b"GET " + noise,
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000,
            b"GET /" + b"a" * 20_000,
            b"POST /v1/ws HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n" + noise,
            b"\xff\xff\xff\xff" + noise,
            b"\x00\x00\x00\x00" * 100,
            struct.pack(">I", len(noise)) + noise,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise,
        ]
    )


@pytest.mark.parametrize("port", PORTS)
async def test_garbage_ends_its_own_connection_only(shared: Server, port: str) -> None:
    fate = seeded_random(f"garbage {port}")
    async with await PlainClient.connect(shared, f"among-garbage-{port}") as bystander:
        number = getattr(shared.ready, port)
        for _ in range(3):
            await asyncio.gather(*(exchange(number, garbage(fate)) for _ in range(20)))
            await bystander.request("ping", {})
        sent = await bystander.send({"user": "somebody"}, "still there", "hi")
        assert sent["seq"] >= 1
    assert shared.read_ready() == shared.ready, "no worker was replaced"


@pytest.mark.parametrize("head", [b"\xff\xff\xff\xff", struct.pack(">I", 1 << 20)])
async def test_tcp_frame_of_an_impossible_length_is_refused_from_its_length(
    shared: Server, head: bytes
) -> None:
    await exchange(shared.ready.tcp, head, finish=False, timeout=4)


async def test_truncated_tcp_frame_ends_quietly(shared: Server) -> None:
    await exchange(shared.ready.tcp, struct.pack(">I", 100) + b"\x08\x01")
    async with await PlainClient.connect(shared, "after-truncation") as client:
        await client.request("ping", {})


async def test_head_that_is_too_large_is_refused(shared: Server) -> None:
    head = b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n" + b"Cookie: " + b"a" * 9000 + b"\r\n\r\n"
    answer = await exchange(shared.ready.http, head, finish=False)
    assert answer.startswith(b"HTTP/1.1 431"), answer[:100]


async def test_page_of_another_origin_may_not_connect(shared: Server) -> None:
    head = (
        b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        b"Sec-WebSocket-Version: 13\r\nOrigin: https://evil.example\r\n\r\n"
    )
    answer = await exchange(shared.ready.http, head, finish=False)
    assert answer.startswith(b"HTTP/1.1 403"), answer[:100]
