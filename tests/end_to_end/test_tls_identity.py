"""Certificates of clients (mTLS), certificates that cannot be used, and `imfast dev-cert`."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import websockets

from imfast.client import Options, connect
from tests.support.certificates import Certificates, run
from tests.support.server import Server


async def test_a_certificate_stands_for_its_subject_and_a_token_for_its_own(
    directory: Path,
) -> None:
    certificates = Certificates(directory / "certificates", clients=("alice",))
    stranger = Certificates(directory / "others", clients=("alice",))
    flags = (
        *certificates.flags,
        *("--tls-client-certificates", "optional", "--tls-client-user", "name"),
        *("--tls-client-ca", str(certificates.path("ca.pem"))),
    )
    async with Server(directory, *flags) as server:
        alice = certificates.context(client="alice")
        url = server.url("wss").replace("127.0.0.1", "localhost")
        async with websockets.connect(f"{url}/v1/ws", ssl=alice) as socket:
            await socket.send(json.dumps({"id": 1, "connect": {"token": ""}}))
            answer = json.loads(await asyncio.wait_for(socket.recv(), 10))
            assert answer["connected"]["user"] == "alice"
        # A token counts before the certificate.
        token = await server.token("bob")
        options = Options(ssl=alice)
        async with connect(server.url("tls"), token=token, options=options) as im:
            assert im.connected.user == "bob"
        curl = ("curl", "-sS", "--cacert", certificates.path("ca.pem"))
        shown = (
            *("--cert", certificates.path("alice.pem"), "--key", certificates.path("alice.key")),
        )
        send = (
            *(f"https://localhost:{server.ready.tls}/v1/send", "-H"),
            *("Content-Type: application/json", "-d", '{"to":{"user":"bob"},"text":"x"}'),
        )
        status, text = await run(*curl, *shown, *send)
        assert status == 0, text
        assert "messageId" in text, text
        status, text = await run(*curl, *send)
        assert json.loads(text)["status"] == 401, text
        # One of another authority is refused in the handshake, though none would do.
        context = certificates.context()
        context.load_cert_chain(stranger.path("alice.pem"), stranger.path("alice.key"))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await health(server, context)


async def test_without_a_certificate_nobody_gets_in_where_they_are_required(
    directory: Path,
) -> None:
    certificates = Certificates(directory / "certificates", clients=("alice",))
    flags = (
        *certificates.flags,
        *("--tls-client-certificates", "required"),
        *("--tls-client-ca", str(certificates.path("ca.pem"))),
    )
    async with Server(directory, *flags, workers=1) as server:
        assert await health(server, certificates.context(client="alice"))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await health(server, certificates.context())
        # It stands for no user unless that is wanted.
        status, text = await run(
            *("curl", "-sS", "--cacert", certificates.path("ca.pem")),
            *("--cert", certificates.path("alice.pem"), "--key", certificates.path("alice.key")),
            *("-d", "{}", "-H", "Content-Type: application/json"),
            f"https://localhost:{server.ready.tls}/v1/ping",
        )
        assert status == 0
        assert json.loads(text)["status"] == 401


async def health(server: Server, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.ready.tls, ssl=context, server_hostname="localhost"
    )
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    # In 1.3 the client believes that it is in before the server has seen its certificate.
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    if not answer:
        raise ConnectionError("nothing was answered")
    return answer


async def test_certificates_that_cannot_be_used_are_refused_at_the_start(
    directory: Path,
) -> None:
    good = Certificates(directory / "good")
    other = Certificates(directory / "other")
    expired = Certificates(directory / "expired")
    expired.renew(datetime.now(UTC) - timedelta(days=8))
    garbage = directory / "garbage.pem"
    garbage.write_text("no certificate")
    pem, key = good.path("server.pem"), good.path("server.key")
    for certificate, private, wanted in (
        (pem, other.path("server.key"), "certificate and key do not belong together"),
        (expired.path("server.pem"), expired.path("server.key"), "expired at"),
        (garbage, key, "no certificate in PEM"),
        (pem, garbage, "no private key in PEM"),
        (directory / "missing.pem", key, "No such file"),
    ):
        server = Server(
            directory / "server", "--tls-cert", str(certificate), "--tls-key", str(private)
        )
        status, text = await run(*server.command())
        assert status == 2, text
        assert wanted in text, text
        assert "option tls_" in text, text
        assert "Traceback" not in text
    for flags, wanted in (
        (("--tls-cert", str(pem)), "each certificate has a key"),
        (
            (*good.flags, "--tls-client-certificates", "required"),
            "needs tls_client_ca",
        ),
        (("--tls-client-certificates", "optional"), "needs tls_cert"),
        ((*good.flags, "--tls-client-user", "name"), "needs tls_client_certificates"),
    ):
        status, text = await run(*Server(directory / "server", *flags).command())
        assert status == 2, text
        assert wanted in text, text


async def test_dev_cert_makes_what_curl_trusts_and_keeps_its_authority(directory: Path) -> None:
    made = directory / "made"
    command = (sys.executable, "-m", "imfast", "dev-cert", "--directory", made)
    status, text = await run(*command, "--client", "alice")
    assert status == 0, text
    assert str(made / "alice.key") in text, text
    authority = (made / "ca.pem").read_bytes()
    assert (made / "server.key").stat().st_mode & 0o077 == 0
    status, _ = await run(*command)
    assert status == 0
    assert (made / "ca.pem").read_bytes() == authority
    flags = ("--tls-cert", str(made / "server.pem"), "--tls-key", str(made / "server.key"))
    async with Server(directory / "server", *flags, workers=1) as server:
        status, text = await run(
            *("curl", "-sS", "--cacert", made / "ca.pem"),
            f"https://localhost:{server.ready.tls}/healthz",
        )
        assert (status, text) == (0, "ok\n")
