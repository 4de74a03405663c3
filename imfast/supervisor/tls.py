"""The TLS credentials of a server: read, checked, read again, given new keys for tickets.

Loaded only where TLS is configured.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imfast._engine import check_tls
from imfast.config.server_settings import ServerSettings
from imfast.config.tls_credentials import TlsCredentials, document_from_credentials
from imfast.errors import ConfigError

__all__ = ["TICKET_KEY_BYTES", "TlsKeeper"]

TICKET_KEY_BYTES = 48
"""A name of 16 bytes, a key of 32."""

TICKET_KEYS = 3
"""Those whose tickets are good: the one that seals, and the two before it. A ticket is made at the
end of its key's time at the latest, and is good for twice that time."""


class TlsKeeper:
    """What connections are accepted with now."""

    def __init__(self, settings: ServerSettings, ticket_keys: Sequence[bytes] = ()) -> None:
        """Reads the files. Without `ticket_keys` there is a new one.

        Raises:
            ConfigError: one cannot be read or used; the text has the option and the file.
        """
        self._settings = settings
        self._ticket_keys = list(ticket_keys) or [_ticket_key()]
        self._seen = self._signature()
        self._credentials = self._load()

    def under(self, settings: ServerSettings) -> TlsKeeper:
        """The same under other settings: tickets stay valid.

        Raises:
            ConfigError: as above.
        """
        return TlsKeeper(settings, self._ticket_keys)

    def document(self) -> dict[str, Any]:
        """For the workers: JSON values, secrets among them."""
        return document_from_credentials(self._credentials)

    def is_changed(self) -> bool:
        """Whether a file differs from when the files were last looked at."""
        return self._signature() != self._seen

    def reload(self) -> None:
        """Reads the files again.

        Raises:
            ConfigError: one cannot be read or used. What was there before stays.
        """
        self._seen = self._signature()
        self._credentials = self._load()

    def rotate(self) -> None:
        """Makes a new key for tickets, and forgets the oldest."""
        self._ticket_keys = [_ticket_key(), *self._ticket_keys][:TICKET_KEYS]
        self._credentials = {**self._credentials, "ticket_keys": list(self._ticket_keys)}

    def _files(self) -> Sequence[Path]:
        settings = self._settings
        authorities = [settings.tls_client_ca] if settings.tls_client_ca else []
        return [*settings.tls_cert, *settings.tls_key, *settings.tls_ocsp, *authorities]

    def _signature(self) -> list[tuple[int, int, int] | None]:
        return list(map(_signature, self._files()))

    def _load(self) -> TlsCredentials:
        settings = self._settings
        chains = [_read("tls_cert", path) for path in settings.tls_cert]
        for path, chain in zip(settings.tls_cert, chains, strict=True):
            _check_times("tls_cert", path, chain)
        keys = [_read("tls_key", path) for path in settings.tls_key]
        ocsp = [_read("tls_ocsp", path) for path in settings.tls_ocsp] or [b""] * len(chains)
        authority = settings.tls_client_ca
        credentials: TlsCredentials = {
            "certificates": list(zip(chains, keys, ocsp, strict=True)),
            "client_certificates": settings.tls_client_certificates,
            "client_authorities": _read("tls_client_ca", authority) if authority else b"",
            "ticket_keys": list(self._ticket_keys),
            "ticket_lifetime_s": round(2 * settings.tls_ticket_s),
        }
        if (refused := check_tls(credentials)) is not None:
            index, reason = refused
            if index is None:
                raise ConfigError(f"option tls_client_ca: {authority}: {reason}")
            raise ConfigError(
                f"option tls_cert: {settings.tls_cert[index]}, with tls_key"
                f" {settings.tls_key[index]}: {reason}"
            )
        return credentials


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"option {option}: {path}: {error.strerror}") from None


def _check_times(option: str, path: Path, chain: bytes) -> None:
    """Refuses what no client would accept today."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise ConfigError(f"option {option}: {path}: no certificate in PEM: {error}") from None
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        since = certificate.not_valid_after_utc.isoformat()
        raise ConfigError(f"option {option}: {path}: expired at {since}; renew it")
    if now < certificate.not_valid_before_utc:
        start = certificate.not_valid_before_utc.isoformat()
        raise ConfigError(
            f"option {option}: {path}: not valid before {start}; is this machine's clock right?"
        )


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _ticket_key() -> bytes:
    return secrets.token_bytes(TICKET_KEY_BYTES)
