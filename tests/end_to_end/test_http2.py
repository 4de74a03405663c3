"""HTTP/2 on the one port: verbs, events and WebSockets as streams, judged by public clients."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from tests.support.deadline import until
from tests.support.http2 import Http2, Stream
from tests.support.plain_client import Frame, PlainClient
from tests.support.server import Server


def program(name: str) -> str:
    """The path of a program; the test is skipped, and says so, where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: .ci/run does it")
    return found


async def output_of(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return output.decode()


async def test_curl_with_prior_knowledge(shared: Server) -> None:
    token = await shared.token("curl-alice")
    body = json.dumps({"to": {"user": "curl-bob"}, "text": "hi"})
    text = await output_of(
        *("curl", "--silent", "--show-error", "--http2-prior-knowledge"),
        *("--write-out", "\n%{http_version} %{http_code}", "--json", body),
        *("--header", f"Authorization: Bearer {token}", f"{shared.url('http')}/v1/send"),
    )
    answer, _, rest = text.rpartition("\n")
    assert (json.loads(answer)["seq"], rest) == (1, "2 200")


async def test_httpx_with_many_requests_at_once(shared: Server) -> None:
    token = await shared.token("httpx-alice")
    bearer = {"Authorization": f"Bearer {token}"}
    url = f"{shared.url('http')}/v1/send"
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(
        http1=False, http2=True, trust_env=False, headers=bearer, limits=limits
    ) as client:
        body = {"to": {"user": "httpx-bob"}, "text": "x" * 5000}
        answers = await asyncio.gather(*(client.post(url, json=body) for _ in range(80)))
    assert {answer.http_version for answer in answers} == {"HTTP/2"}
    assert sorted(answer.json()["seq"] for answer in answers) == list(range(1, 81))


async def test_h2load_loses_nothing(shared: Server, tmp_path: Path) -> None:
    token = await shared.token("load-alice")
    body = tmp_path / "body"
    body.write_text("{}")
    text = await output_of(
        *(program("h2load"), "-n", "3000", "-c", "3", "-m", "50"),
        *("-H", f"authorization: Bearer {token}", "-H", "content-type: application/json"),
        *("-d", str(body), f"{shared.url('http')}/v1/ping"),
    )
    assert "3000 done, 3000 succeeded, 0 failed" in text, text
    assert "3000 2xx, 0 3xx, 0 4xx, 0 5xx" in text, text


async def test_h2spec(shared: Server) -> None:
    """The public suite. One of its cases asks what a port of several protocols cannot do."""
    spec = program("h2spec")
    text = await output_of(
        *(spec, "-h", "127.0.0.1", "-p", str(shared.ready.http), "-P", "/healthz"),
        *("--timeout", "5"),
    )
    summary = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", text)
    assert summary, text
    _, _, summary_of_failures = text.partition("Failures:")
    failed = re.findall(r"\u00d7 \d+: (.*)", summary_of_failures)
    # It is no preface of HTTP/2, so HTTP/1.1 says what is wrong with it.
    assert failed == ["Sends invalid connection preface"], text
    assert int(summary[2]) >= 143


async def test_verbs_events_and_health_share_a_connection(shared: Server) -> None:
    alice = await shared.token("share-alice")
    bob = await shared.token("share-bob")
    async with await Http2.open(shared) as connection:
        streams = [connection.get("/v1/events", token=token) for token in (alice, bob, bob)]
        for stream in streams:
            await stream.named("caughtUp")
        head = streams[0].headers
        assert (head["content-type"], head["x-accel-buffering"]) == ("text/event-stream", "no")
        assert "transfer-encoding" not in head
        for number in range(30):
            body = {"to": {"user": "share-bob"}, "text": str(number), "key": f"share-{number}"}
            answer = await connection.ask("send", body, alice)
            assert answer["seq"] == number + 1
        for stream in streams:
            assert [row["text"] for row in await rows_of(stream, 30)] == [
                str(number) for number in range(30)
            ]
        health = await connection.answer(connection.get("/healthz"))
        assert (health.status, bytes(health.body)) == (200, b"ok\n")
        ready = await connection.answer(connection.get("/readyz"))
        assert ready.status == 200
        missing = await connection.answer(connection.get("/v1/none"))
        assert (missing.status, missing.content["reason"]) == (404, "unsupported")
        refused = await connection.answer(connection.post("send", {}, ""))
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        head_only = await connection.answer(connection.begin("HEAD", "/healthz", end=True))
        assert (head_only.headers["content-length"], bytes(head_only.body)) == ("3", b"")
        # Events go on from where a stream was left.
        await streams[1].named("checkpoint")
        stream = connection.get("/v1/events", ("last-event-id", last_id(streams[1])), token=bob)
        await stream.named("caughtUp")
        assert len(stream.rows()) < 30


def last_id(stream: Stream) -> str:
    found: list[str] = re.findall(r"^id: (.*)$", stream.body.decode(), re.MULTILINE)
    return found[-1]


async def rows_of(stream: Stream, count: int) -> list[Frame]:
    await until(lambda: len(stream.rows()) >= count, f"{count} rows", timeout=15)
    return stream.rows()


async def test_a_body_of_any_size_up_to_the_limit(shared: Server) -> None:
    token = await shared.token("size-alice")
    async with await Http2.open(shared) as connection:
        for size, status in ((65_536, 200), (65_537, 413)):
            body = {"to": {"user": "size-bob"}, "text": "x" * size}
            encoded = json.dumps(body).encode()
            stream = connection.begin(
                "POST", "/v1/send", ("content-type", "application/json"), token=token
            )
            sent = 0
            while sent < len(encoded):
                window = connection.protocol.local_flow_control_window(stream.number)
                piece = encoded[sent : sent + window]
                sent += len(piece)
                if piece:
                    connection.send(stream, piece, end=sent == len(encoded))
                else:
                    await asyncio.sleep(0.001)
            answer = await connection.answer(stream)
            assert answer.status == status
        # What is above the limit of a frame is refused before it is there.
        stream = connection.begin(
            *("POST", "/v1/send"),
            *(("content-type", "application/json"), ("content-length", "1000000")),
            token=token,
        )
        answer = await connection.answer(stream)
        assert (answer.status, answer.reset) == (413, 0)
        # A word for who waits for one.
        expects = (("content-type", "application/json"), ("expect", "100-continue"))
        stream = connection.begin("POST", "/v1/ping", *expects, token=token)
        await connection.until(lambda: stream.interim == 100, "100")
        connection.send(stream, b"{}")
        assert (await connection.answer(stream)).status == 200


async def test_requests_smuggle_nothing_past_their_heads(shared: Server) -> None:
    """RFC 9113 section 8: what cannot be a request ends its stream, and no other one."""
    path = (":path", "/healthz")
    bad: list[tuple[tuple[str, str], ...]] = [
        (("connection", "close"),),
        (("transfer-encoding", "chunked"),),
        (("Upper", "x"),),
        (("a", "x\r\nhost: other"),),
        (("te", "gzip"),),
        (path,),
        ((":unknown", "x"),),
    ]
    async with await Http2.open(shared) as connection:
        for headers in bad:
            stream = await connection.answer(connection.get("/healthz", *headers))
            assert (stream.reset, stream.status) == (1, 0), headers
        stream = await connection.answer(connection.get("/healthz", ("host", "other")))
        assert stream.status == 400
        stream = await connection.answer(connection.get("/healthz", ("x", "y" * 9000)))
        assert stream.status == 431
        assert (await connection.answer(connection.get("/healthz"))).status == 200


async def test_a_stream_that_is_not_read_holds_up_no_other(directory: Path) -> None:
    """Its window bounds what is on the way, its queue what waits; then it ends and says so."""
    flags = ("--send-queue-bytes", "256KiB")
    async with (
        Server(directory, *flags, workers=1) as server,
        await Http2.open(server) as connection,
        await PlainClient.connect(server, "bob") as bob,
    ):
        token = await server.token("alice")
        slow = connection.get("/v1/events", token=token)
        connection.unread.add(slow.number)
        fast = connection.get("/v1/events", token=token)
        await asyncio.gather(slow.named("caughtUp"), fast.named("caughtUp"))
        sent = 0

        async def send(count: int) -> None:
            nonlocal sent
            for _ in range(count):
                await bob.send({"user": "alice"}, f"k{sent}", "x" * 4000)
                sent += 1

        await send(30)
        await connection.until(lambda: len(fast.rows()) == 30, "30 rows")
        assert len(slow.body) <= 65_535
        # It goes on where it stood, with nothing left out.
        connection.open_window(slow, 200_000)
        await connection.until(lambda: len(slow.rows()) == 30, "the same rows")
        assert slow.rows() == fast.rows()
        await send(150)
        await connection.until(lambda: len(fast.rows()) == sent, "all rows")
        assert len(slow.body) <= 65_535 + 200_000
        (worker,) = (await server.status())["workers"]
        assert worker["counters"]["slow_consumers"] == 1
        # Why it ended is the last that it is told, if it wants to hear it.
        connection.open_window(slow, 100_000)
        await connection.answer(slow)
        assert (slow.ended, slow.reset) == (True, None)
        assert slow.events()[-1]["error"]["name"] == "slow_consumer"
        assert (await connection.ask("ping", {}, token))["serverTimeMs"]


def masked(opcode: Opcode, payload: bytes) -> bytes:
    return WebSocketFrame(opcode, payload).serialize(mask=True)


def messages(stream: Stream) -> list[bytes]:
    """Payloads of the server's frames that are here as a whole."""
    found, rest = [], bytes(stream.body)
    while len(rest) >= 2:
        size, start = rest[1], 2
        if size == 126:
            size, start = int.from_bytes(rest[2:4]), 4
        if len(rest) < start + size:
            break
        found.append(rest[start : start + size])
        rest = rest[start + size :]
    return found


def web_socket(connection: Http2, *headers: tuple[str, str]) -> Stream:
    protocol = [(":protocol", "websocket"), ("sec-websocket-version", "13"), *headers]
    number = connection.protocol.get_next_available_stream_id()
    stream = connection.streams[number] = Stream(number)
    pseudo = [
        (":method", "CONNECT"),
        (":scheme", "http"),
        (":path", "/v1/ws"),
        (":authority", "127.0.0.1"),
    ]
    connection.protocol.send_headers(number, [*pseudo, *protocol])
    connection.flush()
    return stream


async def test_web_sockets_are_streams_beside_others(shared: Server) -> None:
    alice = await shared.token("ws-alice")
    async with (
        await Http2.open(shared) as connection,
        await PlainClient.connect(shared, "ws-bob") as bob,
    ):
        stream = web_socket(connection, ("sec-websocket-protocol", "imfast.v1.json"))
        await connection.until(lambda: stream.status == 200, "a WebSocket")
        assert stream.headers["sec-websocket-protocol"] == "imfast.v1.json"
        connect = json.dumps({"id": 1, "connect": {"token": alice}}).encode()
        whole = masked(Opcode.TEXT, connect)
        # In frames of HTTP/2 that know nothing of those within.
        for at in range(0, len(whole), 7):
            connection.send(stream, whole[at : at + 7], end=False)

        def named(name: str) -> bool:
            return any(name in json.loads(text) for text in messages(stream))

        await connection.until(lambda: named("caughtUp"), "caughtUp")
        await bob.send({"user": "ws-alice"}, "ws-key", "from bob")
        await connection.until(lambda: named("message"), "a message")
        assert (await connection.answer(connection.get("/healthz"))).status == 200
        send = {"id": 2, "send": {"to": {"user": "ws-bob"}, "text": "from alice"}}
        connection.send(stream, masked(Opcode.TEXT, json.dumps(send).encode()), end=False)
        await until(
            lambda: any("from alice" in json.dumps(push) for push in bob.pushes), "the push"
        )
        connection.send(stream, masked(Opcode.CLOSE, (1000).to_bytes(2)), end=False)
        assert (await connection.answer(stream)).ended
        assert messages(stream)[-1] == (1000).to_bytes(2)


async def test_web_sockets_that_are_refused_say_why(shared: Server) -> None:
    async with await Http2.open(shared) as connection:
        for headers, status in (
            ((("origin", "https://evil.example"),), 403),
            ((("sec-websocket-protocol", "a b"),), 400),
            ((("content-length", "5"),), 400),
        ):
            stream = web_socket(connection, *headers)
            await connection.answer(stream)
            assert stream.status == status


async def test_a_drain_lets_streams_end_and_names_the_last_one(directory: Path) -> None:
    async with Server(directory, workers=1) as server, await Http2.open(server) as connection:
        token = await server.token("alice")
        stream = connection.get("/v1/events", token=token)
        await stream.named("caughtUp")
        answered = await connection.answer(connection.post("ping", {}, token))
        assert answered.status == 200
        stopping = asyncio.create_task(server.stop())
        assert await connection.ends() == 0
        assert stream.ended
        assert stream.reset is None
        await stream.named("goaway")
        assert await stopping == 0


async def test_metrics_tell_streams_from_what_carries_them(directory: Path) -> None:
    async with Server(directory, workers=1) as server, await Http2.open(server) as connection:
        token = await server.token("alice")
        await connection.get("/v1/events", token=token).named("caughtUp")

        async def counted() -> dict[str, int]:
            (worker,) = (await server.status())["workers"]
            counters: dict[str, int] = worker["counters"]
            return {name: counters[name] for name in ("http2", "http2_events", "http")}

        assert await counted() == {"http2": 1, "http2_events": 1, "http": 0}
