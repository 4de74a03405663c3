"""What comes before the protocols: proxies that say where clients are, and the Unix socket."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.certificates import Certificates, run
from tests.support.raw_session import RawSession
from tests.support.server import Server

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
# One new connection of an address now, and the next one in an hour's time or so.
ONE_AT_A_TIME = ("--address-rate", "1", "--rate-burst-s", "1s")


def version_1(client: str, port: int = 50_000) -> bytes:
    family = "TCP6" if ":" in client else "TCP4"
    server = "::1" if ":" in client else "127.0.0.1"
    return f"PROXY {family} {client} {server} {port} 443\r\n".encode()


def version_2(client: str, command: int = 0x21) -> bytes:
    addresses = socket.inet_aton(client) + socket.inet_aton("127.0.0.1")
    body = addresses + struct.pack(">HH", 50_000, 443) + b"\x04\x00\x02hi"
    signature = b"\r\n\r\n\x00\r\nQUIT\n"
    return signature + bytes([command, 0x11]) + struct.pack(">H", len(body)) + body


async def talk(port: int, *parts: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """What the server says to that until it is silent for its answer's sake, or closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if context is not None:
            await writer.start_tls(context, server_hostname="localhost")
            writer.write(HEALTH)
        async with asyncio.timeout(10):
            return await reader.read(4096)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxied(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """Trusts whoever comes from loopback to be a proxy, and limits addresses behind it."""
    directory = tmp_path_factory.mktemp("proxied")
    certificates = Certificates(directory / "certificates")
    flags = (*certificates.flags, *ONE_AT_A_TIME, "--proxy-trusted", "127.0.0.0/8")
    async with Server(directory, *flags, workers=1) as server:
        yield server


@pytest.mark.parametrize("header", [version_1, version_2])
async def test_a_trusted_proxys_client_is_the_one_that_is_admitted(
    proxied: Server, header: object
) -> None:
    assert callable(header)
    octet = 1 if header is version_1 else 2
    first = await talk(proxied.ready.http, header(f"192.0.2.{octet}"), HEALTH)
    assert first.startswith(b"HTTP/1.1 200 ")
    # The same address comes again at once, in whatever pieces: it is the rate's turn.
    whole = header(f"192.0.2.{octet}") + HEALTH
    again = await talk(proxied.ready.http, *(bytes([byte]) for byte in whole))
    assert again.startswith(b"HTTP/1.1 429 ") or not again
    other = await talk(proxied.ready.http, header(f"192.0.2.{octet + 100}"), HEALTH)
    assert other.startswith(b"HTTP/1.1 200 ")


async def test_what_is_behind_a_header_may_be_any_protocol(proxied: Server) -> None:
    context = ssl.create_default_context(cafile=str(proxied.directory / "certificates" / "ca.pem"))
    for port in (proxied.ready.http, proxied.ready.tls):
        answer = await talk(port, version_1(f"198.51.100.{port % 250}"), context=context)
        assert answer.startswith(b"HTTP/1.1 200 ")
    # A proxy's own check of health has no client.
    local = await talk(proxied.ready.http, version_2("0.0.0.0", 0x20), HEALTH)  # noqa: S104
    assert local.startswith(b"HTTP/1.1 200 ")
    framed = await talk(proxied.ready.tcp, version_1("2001:db8::7"), b"\x00\x00\x00\x02\xff\xff")
    assert framed, "a frame that is none is answered with an error frame"


async def test_headers_that_are_none_are_refused(proxied: Server) -> None:
    for header in (
        b"PROXY TCP4 192.0.2.9 127.0.0.1 1 99999\r\n",
        b"PROXY " + b"x" * 200,
        version_2("192.0.2.9")[:13] + b"\x99" + version_2("192.0.2.9")[14:],
        # One proxy, one header.
        version_1("192.0.2.9") + version_1("192.0.2.10"),
    ):
        answer = await talk(proxied.ready.http, header, HEALTH)
        assert answer.startswith(b"HTTP/1.1 400 "), header


async def test_the_last_forwarded_address_is_the_one_that_is_admitted(proxied: Server) -> None:
    def request(header: str) -> bytes:
        return f"GET /readyz HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n".encode()

    first = request("X-Forwarded-For: 6.6.6.6, 203.0.113.1")
    assert (await talk(proxied.ready.http, first)).startswith(b"HTTP/1.1 200 ")
    for header in (
        "X-Forwarded-For: 7.7.7.7, 203.0.113.1",
        'Forwarded: for=6.6.6.6, for="203.0.113.1:4711";proto=https',
    ):
        answer = await talk(proxied.ready.http, request(header))
        assert not answer.startswith(b"HTTP/1.1 200 "), header
    # What a client says itself behind a PROXY header counts for nothing.
    both = version_1("203.0.113.2") + request("X-Forwarded-For: 203.0.113.1")
    assert (await talk(proxied.ready.http, both)).startswith(b"HTTP/1.1 200 ")


async def test_nobody_else_is_believed(directory: Path) -> None:
    certificates = Certificates(directory / "certificates")
    flags = (*certificates.flags, *ONE_AT_A_TIME, "--proxy-trusted", "10.0.0.0/8")
    async with Server(directory, *flags, workers=1) as server:
        for header in (version_1("192.0.2.1"), version_2("192.0.2.1")):
            answer = await talk(server.ready.http, header, HEALTH)
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"no PROXY header is taken from this address" in answer
        for _ in range(3):
            request = b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
            assert (await talk(server.ready.http, request)).startswith(b"HTTP/1.1 200 ")


async def test_the_unix_socket_speaks_all_and_a_stale_one_is_taken_over(directory: Path) -> None:
    path = directory / "clients.sock"
    flags = ("--unix-path", str(path), "--unix-mode", "600", "--proxy-trusted", "unix")
    async with Server(directory, *flags, *ONE_AT_A_TIME) as server:
        assert path.stat().st_mode & 0o777 == 0o600
        token = await server.token("local")
        for _ in range(4):
            status, text = await run(
                *("curl", "-sS", "--unix-socket", path, "http://localhost/v1/send"),
                *("-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/json"),
                *("-d", '{"to":{"user":"far"},"text":"through a file"}'),
            )
            assert status == 0, text
            assert "messageId" in text, text
        # Both workers serve it: each has its own sessions.
        servers = set()
        async with asyncio.timeout(20):
            while len(servers) < 2:
                reader, writer = await asyncio.open_unix_connection(str(path))
                session = RawSession("tcp", reader, writer)
                answer = await session.request(1, {"connect": {"token": token}})
                servers.add(answer["connected"]["server"])
                writer.close()
        # The proxy on it says where its clients are.
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(version_1("192.0.2.77") + HEALTH)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        # Another server is told that somebody is there.
        other = Server(directory / "other", "--unix-path", str(path))
        status, text = await run(*other.command())
        assert status == 3, text
        assert "in use by another program" in text, text
        await server.kill_all()
        assert path.exists(), "nobody was left to remove it"
        server.process = None
        await server.start()
        status, text = await run("curl", "-sS", "--unix-socket", path, "http://x/healthz")
        assert (status, text) == (0, "ok\n")
        await server.stop()
        assert not path.exists()


def precious_file(directory: Path) -> Path:
    directory.mkdir(parents=True)
    path = directory / "precious"
    path.write_bytes(b"not yours")
    return path


async def test_a_file_in_the_sockets_place_is_left_alone(directory: Path) -> None:
    path = precious_file(directory)
    status, text = await run(*Server(directory, "--unix-path", str(path)).command())
    assert status == 2, text
    assert "no socket" in text, text
    assert path.read_bytes() == b"not yours"


async def test_mqtt_is_known_and_not_served(proxied: Server) -> None:
    packet = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00"
    answer = await talk(proxied.ready.http, version_1("192.0.2.55") + packet)
    assert answer == b""
