"""The keys that tokens are checked with: read from files, and made for development.

A secret is the file's content without its last line end, so that `openssl rand -hex 32 > file`
and a file without a line end mean the same on every machine.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Literal, Protocol

from imfast.errors import ConfigError, InsecureSecretError

__all__ = [
    "SECRET_BYTES_MIN",
    "KeyOptions",
    "development_secret_path",
    "ensure_development_secret",
    "token_key",
    "uses_development_secret",
]

SECRET_BYTES_MIN = 32
"""A shared secret is at least as long as HS256's hash (RFC 7518, section 3.2)."""


class KeyOptions(Protocol):
    """The options that say where keys are: the schema's, or a worker's."""

    @property
    def data_dir(self) -> Path: ...
    @property
    def jwt_algorithm(self) -> Literal["HS256", "RS256", "EdDSA"]: ...
    @property
    def jwt_secret_file(self) -> Path | None: ...
    @property
    def jwt_public_key_file(self) -> Path | None: ...
    @property
    def jwt_jwks_file(self) -> Path | None: ...


def uses_development_secret(settings: KeyOptions) -> bool:
    """Whether tokens are signed with the secret that the server made for itself."""
    return (
        settings.jwt_algorithm == "HS256"
        and settings.jwt_secret_file is None
        and settings.jwt_jwks_file is None
    )


def development_secret_path(settings: KeyOptions) -> Path:
    """Where the server keeps the secret that it makes for itself."""
    return settings.data_dir / "secret.key"


def ensure_development_secret(settings: KeyOptions) -> None:
    """Makes the development secret where one is needed and missing. Holds the directory's lock.

    Raises:
        InsecureSecretError: others can read the one that is there.
        OSError: it cannot be written.
    """
    if not uses_development_secret(settings):
        return
    path = development_secret_path(settings)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        _create(path)
        return
    if stat.S_IMODE(mode) & 0o077:
        raise InsecureSecretError(
            f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}): chmod 600 it, or"
            " remove it to have a new one made, which voids all development tokens"
        )


def token_key(settings: KeyOptions) -> bytes:
    """Reads the key that tokens are checked with: the shared secret, or the public key's PEM.

    Empty where a key set is in the place of it.

    Raises:
        ConfigError: the file that an option names cannot be used.
    """
    if settings.jwt_jwks_file is not None:
        return b""
    if settings.jwt_algorithm != "HS256":
        if settings.jwt_public_key_file is None:
            raise ConfigError("option jwt_public_key_file: not set")
        return _read(settings.jwt_public_key_file, "jwt_public_key_file")
    if settings.jwt_secret_file is not None:
        return _secret(settings.jwt_secret_file, "jwt_secret_file")
    path = development_secret_path(settings)
    if not path.exists():
        raise ConfigError(
            f"option data_dir: {settings.data_dir}: has no development secret (secret.key); the"
            " first `imfast serve` with this directory makes it"
        )
    return _secret(path, "data_dir")


def _secret(path: Path, option: str) -> bytes:
    secret = _read(path, option)
    secret = secret.removesuffix(b"\n").removesuffix(b"\r")
    if len(secret) < SECRET_BYTES_MIN:
        raise ConfigError(
            f"option {option}: {path}: the secret has {len(secret)} bytes;"
            f" at least {SECRET_BYTES_MIN}, or it can be guessed"
        )
    return secret


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"option {option}: {path}: {error.strerror}") from None


def _create(path: Path) -> None:
    content = secrets.token_urlsafe(SECRET_BYTES_MIN).encode() + b"\n"
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
