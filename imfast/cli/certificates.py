"""Certificates for development: a local authority, and what it signs."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from imfast.errors import ConfigError

__all__ = ["make_certificates"]

AUTHORITY_DAYS = 3650
CLOCK_SKEW = timedelta(hours=1)
"""Other machines' clocks may be behind ours."""


def make_certificates(
    directory: Path,
    *,
    names: Sequence[str],
    clients: Sequence[str] = (),
    days: int,
    begins: datetime | None = None,
) -> Iterator[Path]:
    """Writes the files that `imfast dev-cert` names, and yields their paths.

    They are good for `days` from `begins` on, which is now unless it is given.

    Raises:
        ConfigError: a file cannot be written, or the authority that is there cannot be used.
    """
    for client in clients:
        if "/" in client or client in {"", ".", "..", "ca", "server"}:
            raise ConfigError(f"client {client!r}: cannot be the name of a file here")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        authority, authority_key = _authority(directory)
        yield directory / "ca.pem"
        term = _Term(authority, authority_key, begins or datetime.now(UTC) - CLOCK_SKEW, days)
        server = x509.SubjectAlternativeName([_general_name(name) for name in names])
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        yield from term.signed(directory / "server", names[0], server, usage)
        for client in clients:
            subject = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:imfast")])
            usage = ExtendedKeyUsageOID.CLIENT_AUTH
            yield from term.signed(directory / client, client, subject, usage)
    except OSError as error:
        raise ConfigError(f"{error.filename or directory}: {error.strerror}") from None


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _authority(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate_path, key_path = directory / "ca.pem", directory / "ca.key"
    if certificate_path.exists() or key_path.exists():
        try:
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
            key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"the authority in {directory} cannot be used ({error}): remove ca.pem and ca.key"
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"{key_path}: not a key that this command made")
        return certificate, key
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "imfast development authority")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_key(key_path, key)
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


@dataclass(frozen=True)
class _Term:
    """Who signs, and for how long that is good."""

    authority: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    begins: datetime
    days: int

    def signed(
        self,
        path: Path,
        common_name: str,
        subject: x509.SubjectAlternativeName,
        usage: x509.ObjectIdentifier,
    ) -> Iterator[Path]:
        """Writes `path`.pem and `path`.key."""
        key = ec.generate_private_key(ec.SECP256R1())
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(self.authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.begins)
            .not_valid_after(self.begins + timedelta(days=self.days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(subject, critical=False)
            .add_extension(signer, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        key_path, certificate_path = (
            path.parent / f"{path.name}.key",
            path.parent / f"{path.name}.pem",
        )
        _write_key(key_path, key)
        certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        yield certificate_path
        yield key_path


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
