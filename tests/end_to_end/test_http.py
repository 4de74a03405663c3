"""Verbs over HTTP, asked by public clients and byte by byte."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests

from imfast.client import connect
from imfast.codes import CODES, Code
from tests.support.plain_client import PlainClient, body_of
from tests.support.raw_http import RawHttp, post
from tests.support.server import Server

PROBLEM = "application/problem+json"


def base(server: Server) -> str:
    return server.url("http")


async def curl(*arguments: str) -> tuple[dict[str, Any], int]:
    """Run curl; the JSON that it printed, and the status."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--write-out", "\n%{http_code}", *arguments),
        stdout=subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    body, _, status = output.decode().rpartition("\n")
    return json.loads(body), int(status)


async def ask_with_curl(url: str, token: str, body: object) -> dict[str, Any]:
    bearer = f"Authorization: Bearer {token}"
    content, status = await curl("--header", bearer, "--json", json.dumps(body), url)
    assert status == 200, content
    return content


async def ask_with_httpx(url: str, token: str, body: object) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(url, json=body, headers={"Authorization": f"Bearer {token}"})
        content: dict[str, Any] = answer.raise_for_status().json()
        return content


async def ask_with_aiohttp(url: str, token: str, body: object) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(url, json=body, raise_for_status=True) as answer,
    ):
        content: dict[str, Any] = await answer.json()
        return content


async def ask_with_requests(url: str, token: str, body: object) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    answer = await asyncio.to_thread(requests.post, url, json=body, headers=headers, timeout=10)
    answer.raise_for_status()
    content: dict[str, Any] = answer.json()
    return content


CLIENTS = {
    "curl": ask_with_curl,
    "httpx": ask_with_httpx,
    "aiohttp": ask_with_aiohttp,
    "requests": ask_with_requests,
}


@pytest.mark.parametrize("name", CLIENTS)
async def test_message_of_a_public_client_reaches_a_websocket_with_the_same_numbers(
    shared: Server, name: str
) -> None:
    ask = CLIENTS[name]
    token = await shared.token(f"{name}-alice")
    async with await PlainClient.connect(shared, f"{name}-bob") as bob:
        body = {"to": {"user": bob.user}, "json": {"by": name}, "key": "k"}
        sent = await ask(f"{base(shared)}/v1/send", token, body)
        again = await ask(f"{base(shared)}/v1/send", token, body)
        assert again == {**sent, "duplicate": True}
        await bob.wait_rows(sent["conversation"], 1)
        [row] = bob.rows(sent["conversation"])
        message = body_of(row)
        assert (message["seq"], message["messageId"]) == (1, sent["messageId"])
        assert message["json"] == {"by": name}
        where = {"conversation": sent["conversation"]}
        page = await ask(f"{base(shared)}/v1/history", token, where)
        assert page["items"][-1] == {"message": message}


async def test_every_verb_is_served_over_one_connection(shared: Server) -> None:
    token = await shared.token("verbs-alice")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=base(shared), headers=headers, trust_env=False) as client:

        async def ask(verb: str, body: object) -> dict[str, Any]:
            answer = await client.post(f"/v1/{verb}", json=body)
            assert answer.status_code == 200, answer.text
            content: dict[str, Any] = answer.json()
            return content

        made = await ask("group", {"create": {"key": "k", "members": ["verbs-bob"]}})
        group = made["conversation"]
        sent = await ask("send", {"to": {"group": group}, "text": "hello"})
        assert sent["seq"] == made["seq"] + 1
        assert await ask("read", {"conversation": group, "seq": sent["seq"]}) == {}
        assert await ask("ack", {"conversation": group, "seq": sent["seq"]}) == {}
        members = await ask("group", {"members": {"conversation": group}})
        assert {member["user"] for member in members["members"]} == {"verbs-alice", "verbs-bob"}
        listed = await ask("conversations", {})
        assert [one["conversation"] for one in listed["items"]] == [group]
        assert listed["items"][0]["readSeq"] == sent["seq"]
        assert abs((await ask("ping", {}))["serverTimeMs"] / 1000 - time.time()) < 60
        typing = await ask("send", {"to": {"group": group}, "text": "…", "ephemeral": True})
        assert "seq" not in typing


async def test_acks_are_of_the_device_that_the_query_names(shared: Server) -> None:
    token = await shared.token("device-alice")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=base(shared), headers=headers, trust_env=False) as client:
        message = {"to": {"user": "device-bob"}, "text": "x"}
        sent = (await client.post("/v1/send", json=message)).json()
        where = {"conversation": sent["conversation"], "seq": 1}
        await client.post("/v1/ack", params={"device": "web 7f"}, json=where)
        acked = {}
        for device in ("web 7f", "other"):
            answer = await client.post("/v1/conversations", params={"device": device}, json={})
            acked[device] = answer.json()["items"][0]["ackedSeq"]
        assert acked == {"web 7f": 1, "other": 0}
        answer = await client.post("/v1/ack", params={"device": "x" * 129}, json=where)
        assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_id")


async def test_idempotency_key_is_the_key_of_the_send(shared: Server) -> None:
    token = await shared.token("key-alice")
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "order-17"}
    async with httpx.AsyncClient(base_url=base(shared), headers=headers, trust_env=False) as client:
        body = {"to": {"user": "key-bob"}, "text": "one"}
        first = (await client.post("/v1/send", json=body)).json()
        quoted = {"Idempotency-Key": '"order-17"'}
        assert (await client.post("/v1/send", json=body, headers=quoted)).json() == {
            **first,
            "duplicate": True,
        }
        conflict = await client.post("/v1/send", json={**body, "text": "two"})
        assert (conflict.status_code, conflict.json()["reason"]) == (409, "key_conflict")
        both = await client.post("/v1/send", json={**body, "key": "another"})
        assert (both.status_code, both.json()["reason"]) == (400, "invalid_argument")


async def test_errors_are_problems_of_the_catalogue(shared: Server) -> None:
    token = await shared.token("problem-alice")
    url, bearer = base(shared), f"Authorization: Bearer {token}"
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        stranger = await client.post("/v1/ping", json={})
        assert stranger.headers["WWW-Authenticate"] == "Bearer"
        forged = await client.post("/v1/ping", json={}, headers={"Authorization": "Bearer x.y.z"})
        assert "invalid_token" in forged.headers["WWW-Authenticate"]
        answers = [stranger, forged]
        client.headers["Authorization"] = f"Bearer {token}"
        for verb, body in (
            ("send", {"to": {"user": "bob"}}),
            ("send", {"to": {"user": ""}, "text": "x"}),
            ("send", {"to": {"user": "bob"}, "text": "x" * 70_000}),
            ("history", {"conversation": "g.AAAAAAAAAAAAAAAAAAAAAA"}),
            ("history", {"conversation": "g.AAAAAAAAAAAAAAAAAAAAAA", "limit": 10_000}),
            ("group", {"frobnicate": {}}),
            ("frobnicate", {}),
        ):
            answers.append(await client.post(f"/v1/{verb}", json=body))
    for answer in answers:
        problem = answer.json()
        info = CODES[Code(problem["code"])]
        assert answer.headers["Content-Type"] == PROBLEM
        assert problem["status"] == answer.status_code == info.http
        assert (problem["reason"], problem["retryable"]) == (info.name, info.retryable)
        assert problem["title"] == answer.reason_phrase
        assert problem["detail"]
    content, status = await curl("--header", bearer, "--json", '{"to":', f"{url}/v1/send")
    assert (status, content["reason"]) == (400, "malformed_frame")


async def test_rate_is_told_with_retry_after(directory: Path) -> None:
    flags = ("--user-rate", "5", "--rate-burst-s", "1s")
    async with Server(directory, *flags, workers=1) as server:
        token = await server.token("hasty")
        async with await RawHttp.open(server) as connection:
            connection.write(*[post("ping", {}, token)] * 20)
            answers = [await connection.answer() for _ in range(20)]
        [limited, *_] = [answer for answer in answers if answer.status != 200]
        assert limited.status == 429
        wait_ms = limited.content["retryAfterMs"]
        assert 0 < wait_ms <= 1000
        assert limited.headers["retry-after"] == str(-(-wait_ms // 1000))


async def test_pipelined_requests_are_answered_in_their_order(shared: Server) -> None:
    token = await shared.token("pipe-alice")
    async with await RawHttp.open(shared) as connection:
        for number in range(30):
            match number % 3:
                case 0:
                    text = {"to": {"user": f"pipe-{number}"}, "text": str(number)}
                    connection.write(post("send", text, token))
                case 1:
                    connection.write(post("ping", {}, token))
                case 2:
                    connection.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        for number in range(30):
            answer = await connection.answer()
            assert answer.status == 200
            expected = (b'{"conversation"', b'{"serverTimeMs"', b"ok\n")[number % 3]
            assert answer.body.startswith(expected)


async def test_request_in_single_bytes_is_the_same_request(shared: Server) -> None:
    token = await shared.token("slow-alice")
    request = post("send", {"to": {"user": "slow-bob"}, "text": "drop by drop"}, token)
    async with await RawHttp.open(shared) as connection:
        for byte in request:
            connection.write(bytes([byte]))
            await connection.writer.drain()
            await asyncio.sleep(0)
        assert (await connection.answer()).content["seq"] == 1


@pytest.mark.parametrize("pieces", [1, 7, 10_000])
async def test_body_in_chunks_is_put_together(shared: Server, pieces: int) -> None:
    token = await shared.token("chunk-alice")
    text = "".join(chr(ord("a") + number % 26) for number in range(60_000 // 13 * 13))
    message = {"to": {"user": f"chunk-bob-{pieces}"}, "text": text}
    content = json.dumps(message).encode()
    size = -(-len(content) // pieces)
    chunks = [content[at : at + size] for at in range(0, len(content), size)]
    async with await RawHttp.open(shared) as connection:
        connection.write(
            "POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        for chunk in chunks:
            connection.write(f"{len(chunk):x};note=1\r\n", chunk, "\r\n")
            await connection.writer.drain()
        connection.write("0\r\nTrailer: ignored\r\n\r\n", post("ping", {}, token))
        sent = (await connection.answer()).content
        assert (await connection.answer()).status == 200
        where = {"conversation": sent["conversation"]}
        connection.write(post("history", where, token))
        [item] = (await connection.answer()).content["items"]
        assert item["message"]["text"] == text


async def test_client_that_expects_a_word_gets_it_before_its_body(shared: Server) -> None:
    token = await shared.token("expect-alice")
    request = post("ping", {}, token, "Expect: 100-continue")
    head, body = request[:-2], request[-2:]
    async with await RawHttp.open(shared) as connection:
        connection.write(head)
        assert (await connection.answer()).status == 100
        connection.write(body)
        assert (await connection.answer()).status == 200
        connection.write(post("ping", {}, token, "Expect: miracles"))
        assert (await connection.answer()).status == 417
        # Refused from its length: no word that would call for the body.
        connection.write(
            "POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            "Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await connection.answer()).status == 413
        assert await connection.ended() == b""


async def test_head_answers_as_get_without_the_body(shared: Server) -> None:
    async with await RawHttp.open(shared) as connection:
        for path in ("/healthz", "/readyz"):
            connection.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
            got = await connection.answer()
            connection.write(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n")
            headed = await connection.answer(head=True)
            assert (got.status, headed.status, headed.body) == (200, 200, b"")
            assert headed.headers["content-length"] == got.headers["content-length"]
        assert abs(parsedate_to_datetime(got.headers["date"]).timestamp() - time.time()) < 60
        connection.write("HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await connection.answer(head=True)).status == 404
        connection.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await connection.answer()).body == b"ok\n"


STATUSES = {
    "path": ("GET /nothing HTTP/1.1\r\nHost: x", 404),
    "verb": ("POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 0", 404),
    "connect is no verb": ("POST /v1/connect HTTP/1.1\r\nHost: x\r\nContent-Length: 0", 404),
    "get of a verb": ("GET /v1/send HTTP/1.1\r\nHost: x", 405),
    "delete of a verb": ("DELETE /v1/send HTTP/1.1\r\nHost: x", 405),
    "post of health": ("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0", 405),
    "unknown method": ("FETCH /healthz HTTP/1.1\r\nHost: x", 501),
    "no length": ("POST /v1/ping HTTP/1.1\r\nHost: x", 411),
    "form": (
        "POST /v1/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
        "Content-Type: application/x-www-form-urlencoded",
        415,
    ),
    "compressed": (
        "POST /v1/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Encoding: gzip",
        415,
    ),
    "long target": (f"GET /{'a' * 5000} HTTP/1.1\r\nHost: x", 414),
    "page of another origin": (
        "GET /healthz HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example",
        403,
    ),
    "no token": ("POST /v1/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 0", 401),
    "basic": (
        "POST /v1/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nAuthorization: Basic eDp5",
        401,
    ),
    "bad query": (
        "POST /v1/ping?device=%zz HTTP/1.1\r\nHost: x\r\nContent-Length: 0",
        400,
    ),
}


@pytest.mark.parametrize("name", STATUSES)
async def test_refused_request_gets_its_status_and_the_connection_goes_on(
    shared: Server, name: str
) -> None:
    request, status = STATUSES[name]
    async with await RawHttp.open(shared) as connection:
        for _ in range(2):
            connection.write(request, "\r\n\r\n")
            answer = await connection.answer()
            assert answer.status == answer.content["status"] == status
            assert answer.headers["content-type"] == PROBLEM
            assert ("allow" in answer.headers) is (status == 405)
        connection.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await connection.answer()).status == 200


@pytest.mark.parametrize(
    ("version", "header", "stays"),
    [
        ("1.1", "X: y", True),
        ("1.1", "Connection: close", False),
        ("1.1", "Connection: TE, Close", False),
        ("1.0", "X: y", False),
        ("1.0", "Connection: keep-alive", True),
    ],
)
@pytest.mark.parametrize("asked", ["here", "of the log"])
async def test_connection_ends_where_the_request_says_so(
    shared: Server, version: str, header: str, stays: bool, asked: str
) -> None:
    token = await shared.token("version-alice")
    if asked == "here":
        request = f"GET /healthz HTTP/{version}\r\nHost: x\r\n{header}\r\n\r\n".encode()
    else:
        request = post("send", {"to": {"user": "bob"}, "text": "x"}, token, header)
        request = request.replace(b"HTTP/1.1", f"HTTP/{version}".encode(), 1)
    async with await RawHttp.open(shared) as connection:
        connection.write(request, request)
        answer = await connection.answer()
        assert answer.status == 200
        assert (answer.headers.get("connection") == "close") is not stays
        if stays:
            assert (await connection.answer()).status == 200
        else:
            assert await connection.ended() == b""


async def test_clients_of_several_users_share_a_connection_as_behind_a_proxy(
    shared: Server,
) -> None:
    users = [f"proxied-{number}" for number in range(4)]
    tokens = {user: await shared.token(user) for user in users}
    async with await RawHttp.open(shared) as connection:
        for number in range(12):
            user = users[number % 4]
            body = {"to": {"user": "proxied-peer"}, "text": f"{number}"}
            connection.write(post("send", body, tokens[user]))
            connection.write(post("ping", {}, "x.y.z"))
            sent = (await connection.answer()).content
            assert (await connection.answer()).status == 401
            connection.write(post("history", {"conversation": sent["conversation"]}, tokens[user]))
            last = (await connection.answer()).content["items"][-1]["message"]
            assert (last["from"], last["text"]) == (user, str(number))


async def test_token_that_has_expired_is_refused_on_the_same_connection(shared: Server) -> None:
    token = await shared.token("brief", "--ttl", "3s")
    async with await RawHttp.open(shared) as connection:
        connection.write(post("ping", {}, token))
        assert (await connection.answer()).status == 200
        async with asyncio.timeout(15):
            while True:
                connection.write(post("ping", {}, token))
                answer = await connection.answer()
                if answer.status != 200:
                    break
                await asyncio.sleep(0.05)
        assert (answer.status, answer.content["reason"]) == (401, "token_expired")


async def test_request_makes_no_session(shared: Server) -> None:
    token = await shared.token("absent-alice")
    async with (
        await PlainClient.connect(shared, "present-bob") as bob,
        await RawHttp.open(shared) as connection,
    ):
        connection.write(post("ping", {}, token))
        assert (await connection.answer()).status == 200
        sent = await bob.send({"user": "absent-alice"}, "k", "are you there?")
        connection.write(post("history", {"conversation": sent["conversation"]}, token))
        # The answer, and nothing that was pushed before it.
        assert (await connection.answer()).content["items"][0]["message"]["from"] == bob.user


async def test_websocket_may_follow_requests_on_one_connection(shared: Server) -> None:
    token = await shared.token("upgrade-alice")
    connector = aiohttp.TCPConnector(limit=1)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(base(shared), connector=connector) as session:
        async with session.post("/v1/ping", json={}, headers=headers) as answer:
            assert answer.status == 200
            await answer.read()
        async with session.ws_connect("/v1/ws") as websocket:
            await websocket.send_json({"id": 1, "connect": {"token": token}})
            assert (await websocket.receive_json())["connected"]["user"] == "upgrade-alice"


async def test_framed_tcp_is_recognised_on_the_port_of_http(shared: Server) -> None:
    token = await shared.token("sniffed-alice")
    async with connect(f"tcp://127.0.0.1:{shared.ready.http}", token=token) as im:
        sent = await im.send("sniffed-bob", text="hi")
        assert sent.seq == 1


async def test_pages_of_allowed_origins_may_read_answers(directory: Path) -> None:
    origin = "https://chat.example"
    async with Server(directory, "--allowed-origins", f"https://a.example,{origin}") as server:
        token = await server.token("page-alice")
        async with await RawHttp.open(server) as connection:
            connection.write(
                f"OPTIONS /v1/send HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n"
                "Access-Control-Request-Method: POST\r\n"
                "Access-Control-Request-Headers: authorization,content-type\r\n\r\n"
            )
            preflight = await connection.answer()
            assert preflight.status == 204
            assert "POST" in preflight.headers["access-control-allow-methods"]
            allowed = preflight.headers["access-control-allow-headers"].lower()
            assert {"authorization", "content-type", "idempotency-key"} <= {*allowed.split(", ")}
            connection.write(post("ping", {}, token, f"Origin: {origin}"))
            answers = [preflight, await connection.answer()]
            connection.write(post("ping", {}, "bad", f"Origin: {origin}"))
            answers.append(await connection.answer())
            for answer in answers:
                assert answer.headers["access-control-allow-origin"] == origin
                assert answer.headers["vary"] == "Origin"
            connection.write(post("ping", {}, token, "Origin: https://evil.example"))
            refused = await connection.answer()
            assert (refused.status, refused.content["reason"]) == (403, "origin_refused")
            assert "access-control-allow-origin" not in refused.headers
            connection.write("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
            assert "access-control-allow-origin" not in (await connection.answer()).headers


async def test_requests_of_one_key_at_once_on_many_connections_take_effect_once(
    shared: Server,
) -> None:
    token = await shared.token("once-alice")
    request = post("send", {"to": {"user": "once-bob"}, "text": "once", "key": "k"}, token)

    async def ask() -> dict[str, Any]:
        async with await RawHttp.open(shared) as connection:
            connection.write(request)
            content: dict[str, Any] = (await connection.answer()).content
            return content

    answers = await asyncio.gather(*(ask() for _ in range(20)))
    assert {answer["messageId"] for answer in answers} == {answers[0]["messageId"]}
    assert [answer["duplicate"] for answer in answers].count(False) == 1


async def test_request_in_flight_is_answered_before_a_drain_ends(directory: Path) -> None:
    async with Server(directory, workers=1) as server:
        token = await server.token("drained-alice")
        connections = [await RawHttp.open(server) for _ in range(8)]
        for number, connection in enumerate(connections):
            connection.write(post("ping", {}, token))
            assert (await connection.answer()).status == 200
            body = {"to": {"user": "drained-bob"}, "text": f"{number}"}
            connection.write(post("send", body, token))
            await connection.writer.drain()
        stopped = asyncio.create_task(server.stop())
        for connection in connections:
            rest = await connection.ended()
            # Read before the stop: answered; else closed without a byte.
            assert rest == b"" or b'"seq"' in rest, rest
            connection.writer.close()
        assert await stopped == 0
