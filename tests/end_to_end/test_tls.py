"""TLS as clients see it: OpenSSL, curl, requests, Python's ssl, websockets, and ours."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import requests
import websockets
from cryptography import x509

from imfast.client import Options, connect
from tests.support.certificates import Certificates, run
from tests.support.deadline import until
from tests.support.seeds import seeded_random
from tests.support.server import Server

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
ALERT = 21


class Secured:
    """A server with two certificates, and what trusts it."""

    def __init__(self, server: Server, first: Certificates, second: Certificates) -> None:
        self.server = server
        self.first = first
        self.second = second

    def context(self, which: Certificates | None = None) -> ssl.SSLContext:
        return (which or self.first).context()

    async def open(
        self, port: int, context: ssl.SSLContext, name: str = "localhost"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)

    async def health(self, port: int, context: ssl.SSLContext, name: str = "localhost") -> bytes:
        reader, writer = await self.open(port, context, name)
        writer.write(HEALTH)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer

    async def counters(self) -> list[dict[str, int]]:
        """Each worker's."""
        status, text = await run(
            "curl", "-s", f"http://127.0.0.1:{self.server.ready.admin}/v1/status"
        )
        assert status == 0
        return [worker["counters"] for worker in json.loads(text)["workers"]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    directory = tmp_path_factory.mktemp("tls")
    first = Certificates(directory / "first")
    second = Certificates(directory / "second", "other.example", "*.other.example")
    stapled = directory / "first.ocsp"
    stapled.write_bytes(first.ocsp_response())
    none = directory / "none.ocsp"
    none.write_bytes(b"")
    flags = (
        "--tls-cert",
        f"{first.path('server.pem')},{second.path('server.pem')}",
        "--tls-key",
        f"{first.path('server.key')},{second.path('server.key')}",
        "--tls-ocsp",
        f"{stapled},{none}",
    )
    async with Server(directory / "server", *flags) as server:
        yield Secured(server, first, second)


def require(program: str) -> None:
    assert shutil.which(program), f"{program} is needed: .ci/run installs it"


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
async def test_openssl_speaks_both_versions_and_verifies(secured: Secured, version: str) -> None:
    require("openssl")
    status, text = await run(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{secured.server.ready.tls}"),
        *("-servername", "localhost", "-verify_return_error", "-quiet", f"-{version}"),
        *("-CAfile", secured.first.path("ca.pem"), "-alpn", "http/1.1"),
        given=HEALTH,
    )
    assert "HTTP/1.1 200 OK" in text, (status, text)


async def test_older_versions_are_refused(secured: Secured) -> None:
    status, text = await run(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{secured.server.ready.tls}"),
        *("-servername", "localhost", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
    )
    assert status == 1, text
    assert "alert" in text, text


async def test_each_name_is_shown_its_certificate(secured: Secured) -> None:
    port = secured.server.ready.tls
    assert b"200 OK" in await secured.health(port, secured.context())
    second = secured.context(secured.second)
    for name in ("other.example", "deep.other.example"):
        assert b"200 OK" in await secured.health(port, second, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        await secured.health(port, second, "unknown.example")


async def test_every_port_speaks_tls_and_the_others_still_plaintext(secured: Secured) -> None:
    ready = secured.server.ready
    for port in (ready.tls, ready.http):
        assert b"200 OK" in await secured.health(port, secured.context())
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", ready.http)
        writer.write(HEALTH)
        assert b"200 OK" in await reader.read()
        writer.close()


async def test_plain_http_to_the_tls_port_is_told_so(secured: Secured) -> None:
    status, text = await run("curl", "-s", "-i", f"http://localhost:{secured.server.ready.tls}/")
    assert status == 0
    assert text.startswith("HTTP/1.1 400 ")
    assert "this port speaks TLS" in text


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_ticket_is_good_at_both_workers(secured: Secured, version: ssl.TLSVersion) -> None:
    context = secured.context()
    context.minimum_version = context.maximum_version = version
    before = await secured.counters()

    def visit(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
        import socket

        with (
            socket.create_connection(("127.0.0.1", secured.server.ready.tls), 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(HEALTH)
            while tls.recv(4096):
                pass
            return tls.session, bool(tls.session_reused)

    session, reused = await asyncio.to_thread(visit, None)
    assert not reused
    for _ in range(40):
        _, reused = await asyncio.to_thread(visit, session)
        assert reused
    after = await secured.counters()
    resumed = [
        new["tls_resumed"] - old["tls_resumed"] for new, old in zip(after, before, strict=True)
    ]
    assert sum(resumed) == 40
    assert all(resumed), f"one worker resumed none: {resumed}"


async def test_curl_and_requests_post_and_get(secured: Secured) -> None:
    token = await secured.server.token("curler")
    url = f"https://localhost:{secured.server.ready.tls}"
    status, text = await run(
        *("curl", "-sS", "--cacert", secured.first.path("ca.pem"), f"{url}/v1/send"),
        *("-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/json"),
        *("-d", json.dumps({"to": {"user": "friend"}, "text": "over TLS"})),
    )
    assert status == 0, text
    assert "messageId" in text, text

    def ask() -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        with requests.Session() as session:
            session.trust_env = False  # a bundle named there would take its place
            session.verify = str(secured.first.path("ca.pem"))
            for _ in range(3):
                answer = session.post(f"{url}/v1/conversations", json={}, headers=headers)
                answer.raise_for_status()
            return answer.json()

    assert [one["peer"] for one in (await asyncio.to_thread(ask))["items"]] == ["friend"]


async def test_websockets_speaks_over_tls(secured: Secured) -> None:
    async with websockets.connect(
        f"wss://localhost:{secured.server.ready.tls}/v1/ws", ssl=secured.context()
    ) as socket:
        token = await secured.server.token("plain-wss")
        await socket.send(json.dumps({"id": 1, "connect": {"token": token}}))
        answer = json.loads(await asyncio.wait_for(socket.recv(), 10))
        assert answer["connected"]["user"] == "plain-wss"


@pytest.mark.parametrize("scheme", ["wss", "tls"])
async def test_our_client_sends_and_gets_what_is_larger_than_a_record(
    secured: Secured, scheme: str
) -> None:
    server = secured.server
    options = Options(ssl=secured.context())
    alice, bob = f"alice-{scheme}", f"bob-{scheme}"
    async with (
        connect(server.url(scheme), token=await server.token(alice), options=options) as one,
        connect(server.url(scheme), token=await server.token(bob), options=options) as other,
    ):
        texts = [f"{number} " + "x" * (number * 700 % 60_000) for number in range(60)]
        await asyncio.gather(*(one.send(to=bob, text=text) for text in texts))
        got = []
        async with asyncio.timeout(20):
            async for update in other:
                got.append(update.text)  # type: ignore[union-attr]
                if len(got) == len(texts):
                    break
        assert sorted(got) == sorted(texts)


async def test_a_catch_up_of_more_than_sockets_hold_comes_whole(secured: Secured) -> None:
    """What waits sealed and what waits unsealed keep their order."""
    server = secured.server
    token = await server.token("stalled")
    async with connect(server.url(), token=await server.token("sleeper")) as im:
        sync = im.sync
    reader, writer = await secured.open(server.ready.tls, secured.context())
    page = json.dumps({"to": {"user": "sleeper"}, "text": "y" * 60_000})
    head = (
        f"POST /v1/send HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(page)}\r\n\r\n"
    )
    for _ in range(20):
        writer.write((head + page).encode())
        await writer.drain()
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    writer.close()
    options = Options(ssl=secured.context())
    token = await server.token("sleeper")
    async with connect(server.url("wss"), token=token, sync=sync, options=options) as im:
        found = [update async for update in _first(im, 20)]
    assert all(len(update.text) == 60_000 for update in found)


async def _first(im: Any, count: int) -> AsyncIterator[Any]:
    async with asyncio.timeout(20):
        async for update in im:
            yield update
            count -= 1
            if not count:
                return


async def test_the_end_is_said_before_the_connection_closes(secured: Secured) -> None:
    def talk() -> bytes:
        import socket

        with (
            socket.create_connection(("127.0.0.1", secured.server.ready.tls), 10) as plain,
            secured.context().wrap_socket(
                plain, server_hostname="localhost", suppress_ragged_eofs=False
            ) as tls,
        ):
            tls.sendall(HEALTH)
            answer = b""
            # Without a close_notify this raises SSLEOFError.
            while piece := tls.recv(4096):
                answer += piece
            return answer

    assert b"200 OK" in await asyncio.to_thread(talk)


async def test_renegotiation_is_refused(secured: Secured) -> None:
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{secured.server.ready.tls}"),
        *("-servername", "localhost", "-tls1_2"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(15):
        while b"Verify return code" not in (line := await process.stdout.readline()):
            assert line, "no handshake"
        process.stdin.write(b"R\n")
        text = (await process.stdout.read()).decode()
        await process.wait()
    assert "no renegotiation" in text or "alert" in text, text


async def test_a_stapled_response_is_shown(secured: Secured) -> None:
    _, text = await run(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{secured.server.ready.tls}"),
        *("-servername", "localhost", "-status", "-CAfile", secured.first.path("ca.pem")),
    )
    assert "OCSP Response Status: successful" in text
    assert "Cert Status: good" in text


async def test_alpn_agrees_on_what_is_spoken_and_refuses_the_rest(secured: Secured) -> None:
    context = secured.context()
    context.set_alpn_protocols(["http/1.1"])
    _, writer = await secured.open(secured.server.ready.tls, context)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    writer.close()
    context.set_alpn_protocols(["spdy/1"])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await secured.open(secured.server.ready.tls, context)


async def test_garbage_and_halves_of_handshakes_harm_nobody(secured: Secured) -> None:
    fate = seeded_random("handshakes")
    port = secured.server.ready.tls
    hello = client_hello()
    before = sum(one["tls_failures"] for one in await secured.counters())
    alerts = 0
    for _ in range(60):
        data = bytearray(hello)
        for _ in range(fate.randrange(1, 8)):
            # What stays is a TLS record of a handshake: the rest may be anything.
            data[fate.randrange(5, len(data))] = fate.randrange(256)
        cut = fate.choice([len(data), fate.randrange(1, len(data))])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(bytes(data[:cut]))
        writer.write_eof()
        async with asyncio.timeout(10):
            answer = await reader.read()
        alerts += answer[:1] == bytes([ALERT])
        writer.close()
    assert alerts
    assert b"200 OK" in await secured.health(port, secured.context())
    assert sum(one["tls_failures"] for one in await secured.counters()) >= before + alerts


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


async def test_a_handshake_that_does_not_go_on_is_given_up(directory: Path) -> None:
    certificates = Certificates(directory / "certificates")
    flags = (*certificates.flags, "--authenticate-timeout-s", "1s")
    async with Server(directory, *flags, workers=1) as server:
        hello = client_hello()
        opened = []
        for cut in (0, 1, len(hello) // 2, len(hello)):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.ready.tls)
            writer.write(hello[:cut])
            opened.append((reader, writer))
        async with asyncio.timeout(8):
            for reader, writer in opened:
                await reader.read()
                writer.close()


@pytest.mark.parametrize("how", ["command", "files"])
async def test_new_certificates_are_shown_and_no_connection_is_dropped(
    directory: Path, how: str
) -> None:
    certificates = Certificates(directory / "certificates")
    async with Server(directory, *certificates.flags) as server:
        old = certificates.serial
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.ready.tls, ssl=certificates.context(), server_hostname="localhost"
        )
        assert await shown(server, certificates) == old
        certificates.renew()
        new = certificates.serial
        if how == "command":
            status, text = await run(
                *(sys.executable, "-m", "imfast", "reload", "--certificates"),
                *("--data-dir", server.data),
            )
            assert status == 0, text
        await until_shown(server, certificates, new)
        writer.write(HEALTH)
        async with asyncio.timeout(10):
            assert b"200 OK" in await reader.read()
        writer.close()

        certificates.path("server.key").write_bytes(b"half a key")
        await until(
            lambda: server.lines("tls_not_reloaded"), "a refused reload", timeout=15, every=0.1
        )
        assert await shown(server, certificates) == new


async def shown(server: Server, certificates: Certificates) -> int:
    """The serial number that a new connection is shown."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", server.ready.tls, ssl=certificates.context(), server_hostname="localhost"
    )
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(der).serial_number


async def until_shown(server: Server, certificates: Certificates, wanted: int) -> None:
    """Returns when both workers show it: it takes several connections in a row to believe that."""
    in_a_row = 0
    async with asyncio.timeout(20):
        while in_a_row < 12:
            in_a_row = in_a_row + 1 if await shown(server, certificates) == wanted else 0
