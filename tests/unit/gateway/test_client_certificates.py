"""Who a client is by its certificate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from imfast.errors import TokenInvalidError
from imfast.gateway.client_certificates import EXPIRY_S_MAX, ClientCertificates

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def certificate(*names: str, emails: tuple[str, ...] = (), ends: datetime | None = None) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(ends or NOW + timedelta(days=1))
    )
    if emails:
        found = x509.SubjectAlternativeName([x509.RFC822Name(email) for email in emails])
        builder = builder.add_extension(found, critical=False)
    signed = builder.sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def test_the_name_or_the_address_is_the_user_until_the_certificate_ends() -> None:
    both = certificate("alice", emails=("alice@example.org",))
    found = ClientCertificates("name").identify(both)
    assert (found.user, found.tenant) == ("alice", "default")
    assert found.expires_at_ms == (NOW + timedelta(days=1)).timestamp() * 1000
    assert ClientCertificates("email").identify(both).user == "alice@example.org"
    late = certificate("alice", ends=datetime(9999, 12, 31, tzinfo=UTC))
    assert ClientCertificates("name").identify(late).expires_at_ms == EXPIRY_S_MAX * 1000


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("off", certificate("alice")),
        ("name", certificate()),
        ("name", certificate("alice", "bob")),
        ("name", certificate("a\nb")),
        ("email", certificate("alice")),
        ("email", certificate("alice", emails=("a@example.org", "b@example.org"))),
    ],
)
def test_what_names_nobody_in_particular_is_refused(kind: str, shown: bytes) -> None:
    with pytest.raises(TokenInvalidError):
        ClientCertificates(kind).identify(shown)  # type: ignore[arg-type]
