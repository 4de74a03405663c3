"""Who a client is by the certificate of its TLS connection, which the engine has verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from imfast.errors import TokenInvalidError
from imfast.gateway.authenticate import Identity
from imfast.identifiers import DEFAULT_TENANT, UserId, is_identifier

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["ClientCertificates"]

EXPIRY_S_MAX = (1 << 32) - 1
"""As far as a session's end is remembered; authorities sign until the year 9999."""


class ClientCertificates:
    """Finds the user in a certificate's subject."""

    def __init__(self, user: Literal["off", "name", "email"]) -> None:
        """Takes the option tls_client_user."""
        self._user = user

    def identify(self, certificate: bytes) -> Identity:
        """The user whom a verified certificate, in DER, is for. The session ends when it does.

        Raises:
            TokenInvalidError: it names none, or certificates do not stand for tokens here.
        """
        if self._user == "off":
            raise TokenInvalidError("a certificate stands for no token: tls_client_user is off")
        # Only here: loading it takes longer than all else of a worker's start.
        from cryptography import x509

        parsed = x509.load_der_x509_certificate(certificate)
        names = _names(parsed) if self._user == "name" else _emails(parsed)
        if len(names) != 1:
            raise TokenInvalidError(f"the certificate has {len(names)} subjects of its kind, not 1")
        [user] = names
        if not is_identifier(user):
            raise TokenInvalidError("the certificate's subject is no user id")
        ends_s = int(parsed.not_valid_after_utc.timestamp())
        return Identity(
            user=UserId(user),
            tenant=DEFAULT_TENANT,
            expires_at_ms=min(ends_s, EXPIRY_S_MAX) * 1000,
            issued_at_ms=int(parsed.not_valid_before_utc.timestamp() * 1000),
        )


def _names(certificate: Certificate) -> list[str]:
    from cryptography.x509.oid import NameOID

    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [str(name.value) for name in found]


def _emails(certificate: Certificate) -> list[str]:
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.RFC822Name)
