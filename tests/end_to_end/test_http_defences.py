"""Requests that want to be read in two ways, or to take more than their share."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from imfast.limits import HTTP_REQUEST_MS
from tests.support.deadline import until
from tests.support.plain_client import PlainClient
from tests.support.raw_http import RawHttp, post
from tests.support.server import Server

HEAD = "POST /v1/ping HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
HIDDEN = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = f"{HEAD}Transfer-Encoding: chunked\r\n"
CHUNKS = "2\r\n{}\r\n0\r\n\r\n"

AMBIGUOUS = {
    "length and chunks": f"{HEAD}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKS}",
    "chunks and length": f"{CHUNKED}Content-Length: 4\r\n\r\n{CHUNKS}",
    "two lengths": f"{HEAD}Content-Length: 2\r\nContent-Length: 30\r\n\r\n{{}}",
    "two equal lengths": f"{HEAD}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}",
    "list of lengths": f"{HEAD}Content-Length: 2, 2\r\n\r\n{{}}",
    "signed length": f"{HEAD}Content-Length: +2\r\n\r\n{{}}",
    "hexadecimal length": f"{HEAD}Content-Length: 0x2\r\n\r\n{{}}",
    "negative length": f"{HEAD}Content-Length: -1\r\n\r\n{{}}",
    "empty length": f"{HEAD}Content-Length: \r\n\r\n{{}}",
    "two codings": f"{CHUNKED}Transfer-Encoding: chunked\r\n\r\n{CHUNKS}",
    "chunks in HTTP/1.0": (f"{CHUNKED}\r\n{CHUNKS}".replace("HTTP/1.1", "HTTP/1.0")),
    "space before the colon": f"{HEAD}Content-Length : 2\r\n\r\n{{}}",
    "folded line": f"{HEAD}X: a\r\n b\r\nContent-Length: 2\r\n\r\n{{}}",
    "folded length": f"{HEAD}Content-Length:\r\n 2\r\n\r\n{{}}",
    "bare line feed": f"{HEAD}X: a\nContent-Length: 2\r\n\r\n{{}}",
    "bare line feed at the end": f"{HEAD}Content-Length: 2\r\n\n{{}}",
    "bare carriage return": f"{HEAD}X: a\rContent-Length: 2\r\n\r\n{{}}",
    "NUL in a value": f"{HEAD}X: a\0b\r\nContent-Length: 2\r\n\r\n{{}}",
    "no name": f"{HEAD}: a\r\nContent-Length: 2\r\n\r\n{{}}",
    "no host": "GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "host with a path": "GET /healthz HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "absolute target of another host": "GET http://y/healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "chunk longer than its size": f"{CHUNKED}\r\n2\r\n{{}}}}\r\n0\r\n\r\n",
    "chunk with a bare line feed": f"{CHUNKED}\r\n2\n{{}}\r\n0\r\n\r\n",
    "chunk of a signed size": f"{CHUNKED}\r\n+2\r\n{{}}\r\n0\r\n\r\n",
    "no request": "\x16\x03\x01\x02\x00\x01\x00\x01",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_what_could_be_read_in_two_ways_is_refused_and_ends_the_connection(
    shared: Server, name: str
) -> None:
    async with await RawHttp.open(shared) as connection:
        connection.write(AMBIGUOUS[name], HIDDEN)
        answer = await connection.answer()
        assert answer.status == 400
        assert answer.headers["connection"] == "close"
        assert await connection.ended() == b"", "nothing behind it was read as a request"


CODINGS = ["gzip, chunked", "identity", "xchunked", "chunked, chunked", "chunked;q=1"]


@pytest.mark.parametrize("coding", CODINGS)
async def test_transfer_coding_that_is_not_known_is_refused(shared: Server, coding: str) -> None:
    async with await RawHttp.open(shared) as connection:
        connection.write(f"{HEAD}Transfer-Encoding: {coding}\r\n\r\n{CHUNKS}{HIDDEN}")
        assert (await connection.answer()).status == 501
        assert await connection.ended() == b""


@pytest.mark.parametrize("version", ["2.0", "1.2", "0.9", "3"])
async def test_other_version_is_refused(shared: Server, version: str) -> None:
    async with await RawHttp.open(shared) as connection:
        connection.write(f"GET /healthz HTTP/{version}\r\nHost: x\r\n\r\n{HIDDEN}")
        answer = await connection.answer()
        assert answer.status in (400, 505)
        assert await connection.ended() == b""


async def test_absolute_target_of_the_same_host_is_served(shared: Server) -> None:
    async with await RawHttp.open(shared) as connection:
        connection.write("GET http://X:80/healthz HTTP/1.1\r\nHost: x:80\r\n\r\n")
        assert (await connection.answer()).status == 200


async def test_heads_are_bounded_in_bytes_and_in_headers(shared: Server) -> None:
    def get(headers: str) -> str:
        return f"GET /healthz HTTP/1.1\r\nHost: x\r\n{headers}\r\n"

    for headers, status in (
        ("A: b\r\n" * 63, 200),
        ("A: b\r\n" * 64, 431),
        (f"A: {'b' * 8000}\r\n", 200),
        (f"A: {'b' * 9000}\r\n", 431),
    ):
        async with await RawHttp.open(shared) as connection:
            connection.write(get(headers))
            assert (await connection.answer()).status == status
    async with await RawHttp.open(shared) as connection:
        connection.write("GET /", "a" * 9000)
        assert (await connection.answer()).status == 414


async def test_bodies_are_bounded_before_they_are_read(directory: Path) -> None:
    flags = ("--frame-bytes-max", "20KiB", "--body-bytes-max", "2KiB")
    async with Server(directory, *flags, workers=1) as server:
        token = await server.token("large")
        limit = 20 * 1024
        for size, status in ((limit, 400), (limit + 1, 413)):
            # Not JSON: it is read whole, or not at all.
            for framing in ("length", "chunked"):
                head = f"{HEAD}Authorization: Bearer {token}\r\n"
                async with await RawHttp.open(server) as connection:
                    if framing == "length":
                        connection.write(f"{head}Content-Length: {size}\r\n\r\n")
                        connection.write(b"x" * size if status == 400 else b"")
                    else:
                        connection.write(f"{head}Transfer-Encoding: chunked\r\n\r\n")
                        connection.write("5000\r\n", b"x" * limit, "\r\n")
                        connection.write("1\r\nx\r\n" if status == 413 else "", "0\r\n\r\n")
                    assert (await connection.answer()).status == status, (size, framing)
        huge = post("send", {"to": {"user": "b"}, "text": "x" * 3000}, token)
        async with await RawHttp.open(server) as connection:
            connection.write(huge)
            answer = await connection.answer()
            assert (answer.status, answer.content["reason"]) == (413, "body_too_large")


SLOW = ("--authenticate-timeout-s", "1s", "--heartbeat-s", "2s")
REQUEST_S = HTTP_REQUEST_MS.default / 1000


async def test_requests_that_drip_are_given_up_and_idle_connections_closed(
    directory: Path,
) -> None:
    async with Server(directory, *SLOW, workers=1) as server:
        token = await server.token("dripping")
        async with asyncio.TaskGroup() as group:
            for known in (False, True):
                for cut in ("head", "body", "chunks"):
                    group.create_task(_drip(server, token if known else "", cut))
            group.create_task(_idle(server, token))
            group.create_task(_ask_now_and_then_as_a_stranger(server))


async def _drip(server: Server, token: str, cut: str) -> None:
    """Begin a request and never end it; with a token, after one that was good."""
    async with await RawHttp.open(server) as connection:
        if token:
            connection.write(post("ping", {}, token))
            assert (await connection.answer()).status == 200
        began = time.monotonic()
        match cut:
            case "head":
                connection.write("GET /")
            case "body":
                connection.write(post("ping", {"pad": "x" * 1000}, token)[:-1000])
            case "chunks":
                connection.write(f"{CHUNKED}\r\n")

        async def drip() -> None:
            while True:
                connection.write(b"1\r\nx\r\n" if cut == "chunks" else b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        try:
            answer = await connection.answer(timeout=15)
            assert answer.status == 408
            assert answer.headers["connection"] == "close"
        finally:
            dripping.cancel()
        # Ends of deadlines are seen once a second; the machine may be busy.
        assert time.monotonic() - began < (REQUEST_S if token else 1) + 6


async def _idle(server: Server, token: str) -> None:
    """Between two requests nobody waits for an answer: it ends without a word."""
    async with await RawHttp.open(server) as connection:
        connection.write(post("ping", {}, token))
        assert (await connection.answer()).status == 200
        assert await connection.ended(timeout=15) == b""


async def _ask_now_and_then_as_a_stranger(server: Server) -> None:
    """Without a token there is no keep-alive beyond the time to authenticate."""
    async with await RawHttp.open(server) as connection:
        for _ in range(3):
            connection.write(HIDDEN)
            assert (await connection.answer()).status == 200
        assert await connection.ended(timeout=15) == b""


async def test_client_that_does_not_read_its_answers_costs_only_itself(directory: Path) -> None:
    flags = ("--send-queue-bytes", "160KiB", "--socket-unsent-bytes", "16KiB")
    async with Server(directory, *flags, workers=1) as server:
        token = await server.token("deaf")
        async with (
            await PlainClient.connect(server, "bystander") as bystander,
            await RawHttp.open(server) as connection,
        ):
            sent = {}
            for number in range(20):
                message = {"to": {"user": "deaf-peer"}, "text": f"{number}" * 10_000}
                connection.write(post("send", message, token))
                sent = (await connection.answer()).content
            request = post("history", {"conversation": sent["conversation"]}, token)

            async def ask() -> None:
                while True:
                    connection.write(request)
                    await connection.writer.drain()

            asking = asyncio.create_task(ask())
            deadline = time.monotonic() + 20

            async def slow_consumers() -> int:
                [worker] = (await server.status())["workers"]
                return int(worker["counters"]["slow_consumers"])

            while await slow_consumers() == 0:
                assert time.monotonic() < deadline, "the connection is never closed"
                await bystander.request("ping", {})
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def test_pipelined_requests_wait_while_one_is_served(shared: Server) -> None:
    """A client that pipelines without end takes its turn like all others."""
    token = await shared.token("flood")
    async with (
        await PlainClient.connect(shared, "flood-bystander") as bystander,
        await RawHttp.open(shared) as connection,
    ):
        body = {"to": {"user": "flood-peer"}, "text": "x"}
        count = 500
        connection.write(post("send", body, token) * count)
        answers = asyncio.create_task(_read_answers(connection, count))
        while not answers.done():
            await bystander.request("ping", {})
        seqs = await answers
        assert seqs == list(range(1, count + 1))


async def _read_answers(connection: RawHttp, count: int) -> list[int]:
    return [(await connection.answer(timeout=30)).content["seq"] for _ in range(count)]


async def test_connections_that_ask_nothing_make_room_for_others(directory: Path) -> None:
    async with Server(directory, "--unauthenticated-max", "4", workers=1) as server:
        token = await server.token("patient")
        known = await RawHttp.open(server)
        known.write(post("ping", {}, token))
        assert (await known.answer()).status == 200
        idle = [await RawHttp.open(server) for _ in range(12)]
        await until(lambda: sum(one.reader.at_eof() for one in idle) >= 8, "the oldest leave")
        known.write(post("ping", {}, token))
        assert (await known.answer()).status == 200
        for connection in (known, *idle):
            connection.writer.close()


async def test_garbage_behind_a_request_is_refused_after_its_answer(shared: Server) -> None:
    token = await shared.token("tail")
    async with await RawHttp.open(shared) as connection:
        message = {"to": {"user": "tail-peer"}, "text": "x"}
        connection.write(post("send", message, token), json.dumps(message), "\r\n\r\n")
        assert (await connection.answer()).status == 200
        assert (await connection.answer()).status == 400
        assert await connection.ended() == b""
