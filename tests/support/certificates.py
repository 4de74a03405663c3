"""Certificates of tests, made by `imfast dev-cert`'s own code, and programs that look at them."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp

from imfast.cli.certificates import make_certificates

__all__ = ["Certificates", "run"]


class Certificates:
    """A directory with an authority and what it signed."""

    def __init__(self, directory: Path, *names: str, clients: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.names = names or ("localhost", "127.0.0.1")
        self.clients = clients
        self.renew()

    def renew(self, begins: datetime | None = None) -> None:
        """Make all anew but the authority; they are good for a week."""
        made = make_certificates(
            self.directory, names=self.names, clients=self.clients, days=7, begins=begins
        )
        assert all(path.exists() for path in made)

    def path(self, name: str) -> Path:
        return self.directory / name

    @property
    def flags(self) -> tuple[str, ...]:
        """What `imfast serve` needs."""
        return (
            "--tls-cert",
            str(self.path("server.pem")),
            "--tls-key",
            str(self.path("server.key")),
        )

    @property
    def serial(self) -> int:
        """Of the server's certificate."""
        return self._certificate("server.pem").serial_number

    def context(self, *, client: str = "") -> ssl.SSLContext:
        """What trusts the authority, and shows the client's certificate."""
        context = ssl.create_default_context(cafile=str(self.path("ca.pem")))
        if client:
            context.load_cert_chain(self.path(f"{client}.pem"), self.path(f"{client}.key"))
        return context

    def ocsp_response(self) -> bytes:
        """One that says that the server's certificate is good."""
        authority = self._certificate("ca.pem")
        key = serialization.load_pem_private_key(self.path("ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        now = datetime.now(UTC)
        response = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=self._certificate("server.pem"),
                issuer=authority,
                algorithm=hashes.SHA256(),
                cert_status=ocsp.OCSPCertStatus.GOOD,
                this_update=now - timedelta(hours=1),
                next_update=now + timedelta(days=1),
                revocation_time=None,
                revocation_reason=None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, authority)
            .sign(key, hashes.SHA256())
        )
        return response.public_bytes(serialization.Encoding.DER)

    def _certificate(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.path(name).read_bytes())


async def run(*command: str | Path, given: bytes = b"", timeout: float = 20.0) -> tuple[int, str]:
    """Run a program to its end; returns its status and what it printed, both streams together."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(given), timeout)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError(f"{command[0]} did not end within {timeout} s") from None
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")
