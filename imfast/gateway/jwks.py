"""The issuer's public keys from a file (RFC 7517), read again when it changes.

A token names its key by `kid`; the key says which algorithm its tokens have. A new file that is no
key set changes nothing: the keys of before go on to count, and the log says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from imfast.errors import ConfigError, TokenInvalidError

__all__ = ["KeySet", "PublicKey"]

log = structlog.get_logger(__name__)

LOOK_S = 1.0
"""How long a change may go unseen."""

ALGORITHMS = {"RSA": "RS256", "OKP": "EdDSA", "EC": "ES256"}
"""Of keys that do not say theirs. A shared secret ("oct") is never one of an issuer's set."""

FILE_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key, and the only algorithm that it is used with."""

    key: Any
    algorithm: str


class KeySet:
    """The keys of one file."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads them.

        Raises:
            ConfigError: there is no usable key.
        """
        self._path = path
        self._clock = clock
        try:
            self._stamp = self._look()
            self._keys = _keys(path)
        except OSError as error:
            raise ConfigError(f"option jwt_jwks_file: {path}: {error.strerror}") from None
        except ValueError as error:
            raise ConfigError(f"option jwt_jwks_file: {path}: {error}") from None
        self._looked = clock()

    def find(self, kid: str | None) -> PublicKey:
        """The key of that id; without one, the only key.

        Raises:
            TokenInvalidError: there is none, or it is not clear which.
        """
        self._refresh()
        if kid is None:
            if len(self._keys) == 1:
                return next(iter(self._keys.values()))
            raise TokenInvalidError("the token names no key, and there are several")
        key = self._keys.get(kid)
        if key is None:
            raise TokenInvalidError("the token's key is not in the set")
        return key

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            # Also where it is no key set: it is not to be read again until it is another one.
            self._stamp = stamp
            self._keys = _keys(self._path)
        except (OSError, ValueError) as error:
            log.error("jwks not read", path=str(self._path), reason=str(error))
        else:
            log.info("jwks read", path=str(self._path), keys=len(self._keys))

    def _look(self) -> tuple[int, int, int]:
        status = self._path.stat()
        return status.st_ino, status.st_mtime_ns, status.st_size


def _keys(path: Path) -> dict[str, PublicKey]:
    """Every usable key by its id.

    Raises:
        ValueError: there is none.
        OSError: the file cannot be read.
    """
    import jwt
    import orjson

    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX)
    try:
        entries = orjson.loads(content)["keys"]
        keys = {}
        for entry in entries:
            if entry.get("use", "sig") != "sig" or entry.get("kty") not in ALGORITHMS:
                continue
            algorithm = entry.get("alg", ALGORITHMS[entry["kty"]])
            if algorithm not in ALGORITHMS.values():
                continue
            key = jwt.PyJWK(entry, algorithm)
            keys[str(entry.get("kid", ""))] = PublicKey(key.key, algorithm)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no JSON Web Key Set: {type(error).__name__}") from None
    except jwt.PyJWTError as error:
        raise ValueError(f"a key cannot be used: {error}") from None
    if not keys:
        raise ValueError("no key for RS256, ES256 or EdDSA in it")
    return keys
