"""Every limit of spec/limits.toml at its edge, over every transport.

What is at the limit is taken; what is one beyond it is refused by the documented code, and the
connection goes on unless the code says that it ends. A limit without a row fails the first test.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import jwt
import pytest
import pytest_asyncio

from imfast.limits import (
    BODY_BYTES,
    CONTENT_TYPE_BYTES,
    ENVELOPE_BYTES,
    FRAME_BYTES,
    HEADERS,
    HEADERS_BYTES,
    HTTP2_STREAMS,
    HTTP_HEAD_BYTES,
    HTTP_REQUEST_MS,
    HTTP_TARGET_BYTES,
    ID_BYTES,
    KEY_BYTES,
    LIMITS,
    PRESENCE_USERS,
    REACTION_BYTES,
    TITLE_BYTES,
    TOKEN_BYTES,
    TTL_MS,
)
from tests.support.http2 import Http2
from tests.support.raw_http import RawHttp, post
from tests.support.raw_session import TRANSPORTS, Frame, HandshakeRefusedError, RawSession
from tests.support.server import Server

# The least that may be set: what is measured against it stays small.
BODY, FRAME, HEAD = BODY_BYTES.min, FRAME_BYTES.min, HTTP_HEAD_BYTES.min
MEMBERS, PAGE, PAGE_DEFAULT, IN_FLIGHT, STRANGERS = 3, 5, 3, 4, 3
AUTHENTICATE_S, HEARTBEAT_S = 1.0, 1.0

Edge = Callable[[Server, str], Awaitable[None]]
EDGES: dict[str, Edge] = {}
# Those of the server whose other limits are the usual ones: a long target needs a long head.
USUAL = ("authenticate_ms", "heartbeat_ms", "http_request_ms", "http_target_bytes", "http2_streams")
# Codes of RST_STREAM.
REFUSED_STREAM, CANCEL = 7, 8


def edge(name: str) -> Callable[[Edge], Edge]:
    """The row of a limit."""

    def add(test: Edge) -> Edge:
        EDGES[name] = test
        return test

    return add


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def narrow(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server whose limits are low."""
    flags = {
        "--body-bytes-max": BODY,
        "--frame-bytes-max": FRAME,
        "--header-bytes-max": HEAD,
        "--members-per-call-max": MEMBERS,
        "--page-items-max": PAGE,
        "--page-items-default": PAGE_DEFAULT,
        "--requests-in-flight-max": IN_FLIGHT,
        "--unauthenticated-max": STRANGERS,
    }
    arguments = [str(part) for flag in flags.items() for part in flag]
    directory = tmp_path_factory.mktemp("narrow")
    async with Server(directory, *arguments, workers=1, durability="os") as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def impatient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that waits no longer than it must."""
    flags = ("--authenticate-timeout-s", f"{AUTHENTICATE_S}s", "--heartbeat-s", f"{HEARTBEAT_S}s")
    directory = tmp_path_factory.mktemp("impatient")
    async with Server(directory, *flags, workers=1, durability="os") as server:
        yield server


def test_every_limit_has_a_row() -> None:
    assert EDGES.keys() == LIMITS.keys()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", sorted(LIMITS.keys() - set(USUAL)))
async def test_limit_holds_at_its_edge(narrow: Server, name: str, transport: str) -> None:
    await EDGES[name](narrow, transport)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", USUAL)
async def test_limit_of_an_impatient_server_holds_at_its_edge(
    impatient: Server, name: str, transport: str
) -> None:
    await EDGES[name](impatient, transport)


async def at_edge(
    session: RawSession, limit: int, make: Callable[[int], Frame], reply: str, refusal: str
) -> None:
    """One less and the limit itself are taken, one more is refused and the connection goes on."""
    for number, value in enumerate((limit - 1, limit, limit + 1), start=10):
        answer = await session.request(number, make(value))
        if value <= limit:
            assert reply in answer, (value, answer)
        else:
            assert answer.get("error", {}).get("name") == refusal, (value, answer)
    assert "pong" in await session.request(20, {"ping": {}})


def send(**fields: Any) -> Frame:
    content = {} if {"json", "bytes"} & fields.keys() else {"text": "hi"}
    return {"send": {"to": {"user": "somebody"}, **content, **fields}}


def user_of(transport: str, name: str) -> str:
    return f"{name}-{transport}"


# Sizes of what a frame holds.


@edge("body_bytes")
async def body_bytes(server: Server, transport: str) -> None:
    async with await RawSession.connect(server, transport, "body") as session:
        for make in (
            lambda n: send(text="x" * n),
            lambda n: send(text="é" * (n // 2) + "x" * (n % 2)),
            lambda n: send(json="x" * (n - 2)),
            lambda n: send(bytes=bytes(n)),
        ):
            await at_edge(session, BODY, make, "sent", "body_too_large")


@edge("envelope_bytes")
async def envelope_bytes(server: Server, transport: str) -> None:
    """Around the largest body there is room for the whole envelope."""
    async with await RawSession.connect(server, transport, "envelope") as session:
        largest = send(text="x" * BODY)
        for less in (1, 0):
            size = BODY + ENVELOPE_BYTES.default - less
            assert "sent" in await session.request(10 - less, largest, size=size)
        session.write(session.encode(largest, size=BODY + ENVELOPE_BYTES.default + 1))
        ending = await session.ending()
        assert ending.code_name(transport) in (1009, "frame_too_large")


@edge("frame_bytes")
async def frame_bytes(server: Server, transport: str) -> None:
    """Refused from its length alone: nothing of a frame that is too large is waited for."""
    async with await RawSession.connect(server, transport, "frame") as session:
        for less in (1, 0):
            assert "pong" in await session.request(10 - less, {"ping": {}}, size=FRAME - less)
        session.announce(FRAME + 1)
        ending = await session.ending()
        assert ending.code_name(transport) == ("frame_too_large" if transport == "tcp" else 1009)


@edge("headers")
async def headers(server: Server, transport: str) -> None:
    async with await RawSession.connect(server, transport, "headers") as session:

        def make(count: int) -> Frame:
            return send(headers={f"n{i}": "" for i in range(count)})

        await at_edge(session, HEADERS.default, make, "sent", "headers_too_large")
        answer = await session.request(30, make(HEADERS.default * 10))
        assert answer["error"]["name"] == "headers_too_large"


@edge("headers_bytes")
async def headers_bytes(server: Server, transport: str) -> None:
    async with await RawSession.connect(server, transport, "headers") as session:

        def make(size: int) -> Frame:
            return send(headers={"a": "x" * 100, "b" * 10: "y" * (size - 111)})

        await at_edge(session, HEADERS_BYTES.default, make, "sent", "headers_too_large")


@edge("http_head_bytes")
async def http_head_bytes(server: Server, transport: str) -> None:
    if transport == "tcp":
        return  # has no HTTP
    for size in (HEAD - 1, HEAD):
        async with await RawSession.open(server, transport, head_bytes=size) as session:
            assert not await session.ended()
    with pytest.raises(HandshakeRefusedError) as refused:
        await RawSession.open(server, transport, head_bytes=HEAD + 1)
    assert refused.value.status == 431


@edge("http_target_bytes")
async def http_target_bytes(server: Server, transport: str) -> None:
    if transport != "json":
        return  # a request over HTTP, whatever else the port serves
    async with await RawHttp.open(server) as connection:
        for over in (-1, 0, 1):
            size = HTTP_TARGET_BYTES.default + over
            target = "/healthz?" + "x" * (size - len("/healthz?"))
            connection.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert (await connection.answer()).status == (414 if over > 0 else 200)


@edge("id_bytes")
async def id_bytes(server: Server, transport: str) -> None:
    async with await RawSession.connect(server, transport, "ids") as session:
        size = ID_BYTES.default

        def member(n: int) -> Frame:
            return {"group": {"create": {"key": f"{n}", "members": ["x" * n]}}}

        await at_edge(session, size, lambda n: send(to={"user": "x" * n}), "sent", "invalid_id")
        await at_edge(session, size, member, "group", "invalid_id")
        # Ids of the right length that nobody has.
        for verb in (
            lambda n: {"history": {"conversation": "x" * n}},
            lambda n: {"ack": {"conversation": "x" * n, "seq": 1}},
            lambda n: {"group": {"join": {"conversation": "x" * n}}},
        ):
            names = [
                (await session.request(n, verb(n)))["error"]["name"]
                for n in (size - 1, size, size + 1)
            ]
            assert names == ["not_a_member", "not_a_member", "invalid_id"]
    async with await RawSession.open(server, transport) as session:
        token = await server.token("ids")
        refused, answer = [
            await session.request(number, {"connect": {"token": token, "device": "x" * length}})
            for number, length in ((1, size + 1), (2, size))
        ]
        assert refused["error"]["name"] == "invalid_id"
        assert "connected" in answer


@edge("key_bytes")
async def key_bytes(server: Server, transport: str) -> None:
    async with await RawSession.connect(server, transport, "keys") as session:
        limit, refusal = KEY_BYTES.default, "invalid_argument"
        await at_edge(session, limit, lambda n: send(key="k" * n), "sent", refusal)
        await at_edge(
            session, limit, lambda n: {"group": {"create": {"key": "k" * n}}}, "group", refusal
        )


@edge("content_type_bytes")
async def content_type_bytes(server: Server, transport: str) -> None:
    async with await RawSession.connect(server, transport, "types") as session:

        def make(n: int) -> Frame:
            return send(bytes=b"x", contentType="t" * n)

        await at_edge(session, CONTENT_TYPE_BYTES.default, make, "sent", "invalid_argument")


@edge("title_bytes")
async def title_bytes(server: Server, transport: str) -> None:
    async with await RawSession.connect(server, transport, "titles") as session:

        def make(n: int) -> Frame:
            return {"group": {"create": {"key": f"title {n} {transport}", "title": "t" * n}}}

        await at_edge(session, TITLE_BYTES.default, make, "group", "invalid_argument")


@edge("reaction_bytes")
async def reaction_bytes(server: Server, transport: str) -> None:
    async with await RawSession.connect(server, transport, "reactions") as session:
        sent = (await session.request(1, send(text="x")))["sent"]
        where = {"conversation": sent["conversation"], "seq": sent["seq"]}

        def react(n: int) -> Frame:
            return {"react": {**where, "key": f"{n} {transport}", "reaction": "r" * n}}

        await at_edge(session, REACTION_BYTES.default, react, "sent", "invalid_argument")


@edge("presence_users")
async def presence_users(server: Server, transport: str) -> None:
    limit = PRESENCE_USERS.default
    for size in (limit - 1, limit, limit + 1):
        # What is watched already counts: each size has a session of its own.
        async with await RawSession.connect(server, transport, "watchers") as session:
            users = [f"w{i}" for i in range(size)]
            answer = await session.request(2, {"presence": {"subscribe": {"users": users}}})
            if size <= limit:
                assert "presence" in answer, (size, answer)
            else:
                assert answer["error"]["name"] == "invalid_argument", (size, answer)
            assert "pong" in await session.request(3, {"ping": {}})


@edge("token_bytes")
async def token_bytes(server: Server, transport: str) -> None:
    limit = TOKEN_BYTES.default
    good, too_long = (token_of(server, "tokens", size) for size in (limit, limit + 1))
    async with await RawSession.open(server, transport) as session:
        answer = await session.request(1, {"connect": {"token": too_long}})
        assert answer["error"]["name"] == "invalid_argument"
        assert "connected" in await session.request(2, {"connect": {"token": good}})

        def refresh(n: int) -> Frame:
            return {"refresh": {"token": token_of(server, "tokens", n)}}

        await at_edge(session, limit, refresh, "refreshed", "invalid_argument")


def token_of(server: Server, user: str, size: int) -> str:
    """A good token of exactly so many bytes."""
    secret = (server.data / "secret.key").read_bytes().removesuffix(b"\n")
    claims = {"sub": user, "exp": int(time.time()) + 3600}
    for beside in range(4):
        for pad in range(size * 3 // 4 - 200, size * 3 // 4):
            # Base64 has no string of 4 n + 1 characters, in one part: the other makes up for it.
            if beside + pad * 4 // 3 > size:
                break
            token = jwt.encode(
                {**claims, "pad": "x" * pad}, secret, "HS256", headers={"kid": "k" * beside}
            )
            if len(token) == size:
                return token
    raise AssertionError(f"no token of {size} bytes")


@edge("ttl_ms")
async def ttl_ms(server: Server, transport: str) -> None:
    async with await RawSession.connect(server, transport, "ttl") as session:
        limit = TTL_MS.default
        await at_edge(session, limit, lambda n: send(ttlMs=n), "sent", "invalid_argument")


# How many.


@edge("members_per_call")
async def members_per_call(server: Server, transport: str) -> None:
    async with await RawSession.connect(server, transport, "members") as session:

        def create(n: int) -> Frame:
            members = [f"m{i}" for i in range(n)]
            return {"group": {"create": {"key": f"members {n} {transport}", "members": members}}}

        await at_edge(session, MEMBERS, create, "group", "too_many_members")
        group = (await session.request(1, create(1)))["group"]["conversation"]
        for action in ("add", "remove"):

            def change(n: int, action: str = action) -> Frame:
                return {"group": {action: {"conversation": group, "users": ["x"] * n}}}

            await at_edge(session, MEMBERS, change, "group", "too_many_members")


@edge("page_items")
async def page_items(server: Server, transport: str) -> None:
    async with await RawSession.connect(server, transport, "pages") as session:
        create = {"create": {"key": f"pages {transport}", "members": ["a"]}}
        group = (await session.request(1, {"group": create}))["group"]["conversation"]
        for reply, make in (
            ("history", lambda n: {"history": {"conversation": group, "limit": n}}),
            ("conversations", lambda n: {"conversations": {"limit": n}}),
            ("group", lambda n: {"group": {"members": {"conversation": group, "limit": n}}}),
        ):
            await at_edge(session, PAGE, make, reply, "page_too_large")


@edge("page_items_default")
async def page_items_default(server: Server, transport: str) -> None:
    """A request that names no limit gets so many items, and is told when there are more."""
    async with await RawSession.connect(server, transport, "default page") as session:
        for count in (PAGE_DEFAULT - 1, PAGE_DEFAULT, PAGE_DEFAULT + 1):
            peer = {"user": user_of(transport, f"peer {count}")}
            for number in range(count):
                sent = (await session.request(number + 1, send(to=peer)))["sent"]
            page = await session.request(9, {"history": {"conversation": sent["conversation"]}})
            assert len(page["history"]["items"]) == min(count, PAGE_DEFAULT)
            assert page["history"].get("more", False) is (count > PAGE_DEFAULT)


@edge("requests_in_flight")
async def requests_in_flight(server: Server, transport: str) -> None:
    """What comes above the window is not refused: it is read once there is room."""
    async with await RawSession.connect(server, transport, "window") as session:
        for count in (IN_FLIGHT - 1, IN_FLIGHT, IN_FLIGHT + 1, 10 * IN_FLIGHT):
            numbers = range(100 * count, 100 * count + count)
            session.write(*(session.encode({"id": number, **send()}) for number in numbers))
            seqs = [(await session.answer(number))["sent"]["seq"] for number in numbers]
            assert seqs == list(range(seqs[0], seqs[0] + count))


@edge("unauthenticated_connections")
async def unauthenticated_connections(server: Server, transport: str) -> None:
    """One more than may be costs the oldest of them its place."""
    sessions = [await RawSession.open(server, transport) for _ in range(STRANGERS)]
    try:
        for session in sessions:
            answer = await session.request(1, {"ping": {}})
            assert answer["error"]["name"] == "not_connected", "still there"
        sessions.append(await RawSession.open(server, transport))
        assert [await session.ended() for session in sessions] == [True] + [False] * STRANGERS
    finally:
        for session in sessions:
            session.close()


# How long. The server counts in whole seconds and may round up.


@edge("authenticate_ms")
async def authenticate_ms(server: Server, transport: str) -> None:
    await server.token("in time")
    began = time.monotonic()
    silent = await RawSession.open(server, transport)
    async with silent, await RawSession.connect(server, transport, "in time") as in_time:
        ending = await silent.ending()
        passed_s = time.monotonic() - began
        code = "authentication_timeout" if transport == "tcp" else 4002
        assert ending.code_name(transport) == code
        assert AUTHENTICATE_S <= passed_s <= AUTHENTICATE_S + 3
        assert not await in_time.ended()


@edge("heartbeat_ms")
async def heartbeat_ms(server: Server, transport: str) -> None:
    """Silence of one beat is no matter, of two it is the end."""
    async with await RawSession.connect(server, transport, "silent") as session:
        began = time.monotonic()
        await asyncio.sleep(HEARTBEAT_S * 0.9)
        assert not await session.ended()
        heard = time.monotonic()
        ending = await session.ending()
        passed_s = time.monotonic() - heard
        code = "heartbeat_timeout" if transport == "tcp" else 4006
        assert ending.code_name(transport) == code
        assert HEARTBEAT_S * 2 <= passed_s <= HEARTBEAT_S * 2 + 4
        assert heard - began < HEARTBEAT_S * 2


@edge("http_request_ms")
async def http_request_ms(server: Server, transport: str) -> None:
    if transport != "json":
        return  # a request over HTTP, whatever else the port serves
    limit_s = HTTP_REQUEST_MS.default / 1000
    request = post("ping", {}, await server.token("slow"))
    async with await RawHttp.open(server) as connection:
        connection.write(request)
        assert (await connection.answer()).status == 200
        for late, status in ((False, 200), (True, 408)):
            began = time.monotonic()
            connection.write(request[:-1])
            if not late:
                await asyncio.sleep(limit_s * 0.9 - 0.5)
                connection.write(request[-1:])
            assert (await connection.answer()).status == status
            assert not late or limit_s <= time.monotonic() - began <= limit_s + 3


@edge("http2_streams")
async def http2_streams(server: Server, transport: str) -> None:
    """What is refused may be asked again once there is room."""
    if transport != "json":
        return  # streams of HTTP/2, whatever else the port serves
    limit = HTTP2_STREAMS.default
    token = await server.token("streaming")
    async with await Http2.open(server) as connection:
        settings = connection.protocol.remote_settings
        assert settings.max_concurrent_streams == limit
        streams = [connection.get("/v1/events", token=token) for _ in range(limit)]
        for stream in streams:
            await stream.named("caughtUp")
        # The library would not ask for more than it may.
        settings.max_concurrent_streams = limit + 1
        settings.acknowledge()
        over = await connection.answer(connection.get("/healthz"))
        assert (over.reset, over.status) == (REFUSED_STREAM, 0)
        connection.protocol.reset_stream(streams[0].number, CANCEL)
        connection.flush()
        again = await connection.answer(connection.get("/healthz"))
        assert again.status == 200
