"""One message from every transport to every transport, in the clear and within TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio

from imfast.client import Message, Options, connect
from tests.support.certificates import Certificates
from tests.support.http2 import Http2
from tests.support.server import Server


@dataclass
class Place:
    """A server, and what trusts it."""

    server: Server
    certificates: Certificates

    @property
    def context(self) -> ssl.SSLContext:
        """A new one: what is asked by ALPN is set on it."""
        return self.certificates.context()

    def url(self, scheme: str, *, tls: bool) -> str:
        if not tls:
            return self.server.url(scheme)
        secured = {"ws": "wss", "tcp": "tls", "http": "https"}[scheme]
        return f"{secured}://localhost:{self.server.ready.tls}"


@dataclass
class Party:
    """Somebody on one transport."""

    send: Callable[[str, str], Awaitable[int]]
    """Sends a text to a user; the message's seq."""
    receive: Callable[[str], Awaitable[int]]
    """Waits for a text; the message's seq."""


@asynccontextmanager
async def our_client(
    place: Place, token: str, *, tls: bool, scheme: str, protobuf: bool = False
) -> AsyncIterator[Party]:
    options = Options(protobuf=protobuf, ssl=place.context if tls else None)
    async with connect(place.url(scheme, tls=tls), token=token, options=options) as client:

        async def send(user: str, text: str) -> int:
            return (await client.send(user, text=text)).seq

        async def receive(text: str) -> int:
            async for update in client:
                if isinstance(update, Message) and update.text == text:
                    return update.seq
            raise AssertionError("the updates ended")

        yield Party(send, receive)


@asynccontextmanager
async def events_and_requests(place: Place, token: str, *, tls: bool) -> AsyncIterator[Party]:
    """HTTP/1.1: a stream of events beside requests, by httpx."""
    async with (
        httpx.AsyncClient(
            base_url=place.url("http", tls=tls),
            headers={"Authorization": f"Bearer {token}"},
            verify=place.context,
            trust_env=False,
        ) as client,
        client.stream("GET", "/v1/events") as answer,
    ):
        assert (answer.http_version, answer.status_code) == ("HTTP/1.1", 200)
        lines = answer.aiter_lines()
        async for line in lines:
            if '"caughtUp"' in line:
                break

        async def send(user: str, text: str) -> int:
            body = {"to": {"user": user}, "text": text}
            sent = await client.post("/v1/send", json=body)
            seq: int = sent.raise_for_status().json()["seq"]
            return seq

        async def receive(text: str) -> int:
            async for line in lines:
                row = json.loads(line[6:]) if line.startswith("data: ") else {}
                if "message" in row and row["message"].get("text") == text:
                    seq: int = row["message"]["seq"]
                    return seq
            raise AssertionError("the events ended")

        yield Party(send, receive)


@asynccontextmanager
async def streams(place: Place, token: str, *, tls: bool) -> AsyncIterator[Party]:
    """HTTP/2: both as streams of one connection."""
    context = place.context if tls else None
    async with await Http2.open(place.server, context=context) as connection:
        events = connection.get("/v1/events", token=token)
        await events.named("caughtUp")

        async def send(user: str, text: str) -> int:
            body = {"to": {"user": user}, "text": text}
            seq: int = (await connection.ask("send", body, token))["seq"]
            return seq

        async def receive(text: str) -> int:
            def found() -> list[int]:
                return [row["seq"] for row in events.rows() if row.get("text") == text]

            await connection.until(lambda: bool(found()), text)
            return found()[0]

        yield Party(send, receive)


KINDS = ("websocket json", "websocket protobuf", "tcp", "http", "http2")
ALL = [f"{kind}{end}" for kind in KINDS for end in ("", " tls")]


def party(place: Place, token: str, name: str) -> AbstractAsyncContextManager[Party]:
    kind, tls = name.removesuffix(" tls"), name.endswith(" tls")
    match kind:
        case "websocket json":
            return our_client(place, token, tls=tls, scheme="ws")
        case "websocket protobuf":
            return our_client(place, token, tls=tls, scheme="ws", protobuf=True)
        case "tcp":
            return our_client(place, token, tls=tls, scheme="tcp")
        case "http":
            return events_and_requests(place, token, tls=tls)
    return streams(place, token, tls=tls)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    directory = tmp_path_factory.mktemp("pairs")
    certificates = Certificates(directory / "certificates")
    flags = (
        *("--tls-cert", str(certificates.path("server.pem"))),
        *("--tls-key", str(certificates.path("server.key"))),
    )
    async with Server(directory / "server", *flags) as server:
        yield Place(server, certificates)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("receiver", ALL)
@pytest.mark.parametrize("sender", ALL)
async def test_message_goes_from_every_transport_to_every_transport(
    place: Place, sender: str, receiver: str
) -> None:
    alice, bob = await asyncio.gather(
        place.server.token("pair-alice"), place.server.token("pair-bob")
    )
    async with party(place, alice, sender) as one, party(place, bob, receiver) as other:
        text = f"{sender} to {receiver}"
        arrival = asyncio.ensure_future(other.receive(text))
        seq = await one.send("pair-bob", text)
        async with asyncio.timeout(15):
            assert await arrival == seq
