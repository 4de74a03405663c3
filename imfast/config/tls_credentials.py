"""TLS credentials on their way from the supervisor, which reads the files, to the workers.

A worker opens no key file: it has what the supervisor has checked, and all workers have the same.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

__all__ = ["TlsCredentials", "credentials_from_document", "document_from_credentials"]


class TlsCredentials(TypedDict):
    """What the engine takes."""

    certificates: list[tuple[bytes, bytes, bytes]]
    """Chain and key in PEM, OCSP response in DER (empty: none)."""
    client_certificates: str
    client_authorities: bytes
    ticket_keys: list[bytes]
    ticket_lifetime_s: int


def document_from_credentials(credentials: TlsCredentials) -> dict[str, Any]:
    """The credentials as JSON values."""
    return {
        "certificates": [list(map(_text, files)) for files in credentials["certificates"]],
        "client_certificates": credentials["client_certificates"],
        "client_authorities": _text(credentials["client_authorities"]),
        "ticket_keys": list(map(_text, credentials["ticket_keys"])),
        "ticket_lifetime_s": credentials["ticket_lifetime_s"],
    }


def credentials_from_document(document: Mapping[str, Any]) -> TlsCredentials:
    """What `document_from_credentials` wrote, as the engine takes it."""
    return {
        "certificates": [_three(files) for files in document["certificates"]],
        "client_certificates": document["client_certificates"],
        "client_authorities": base64.b64decode(document["client_authorities"]),
        "ticket_keys": [base64.b64decode(key) for key in document["ticket_keys"]],
        "ticket_lifetime_s": document["ticket_lifetime_s"],
    }


def _three(files: Sequence[str]) -> tuple[bytes, bytes, bytes]:
    chain, key, ocsp = map(base64.b64decode, files)
    return chain, key, ocsp


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
