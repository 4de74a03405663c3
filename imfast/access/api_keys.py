"""Keys of the server API: random, scoped, stored as hashes in one file of the data directory.

A key is ``imk.<id>.<secret>``: the id finds the entry, the secret is compared with its SHA-256. A
secret of 256 random bits needs no slow hash: there is nothing to guess from. The file is read
again whenever it has changed, so that what the command line does holds at once, on every worker.
"""

from __future__ import annotations

import fcntl
import hmac
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from imfast.config.durable_file import write_atomically
from imfast.identifiers import DEFAULT_TENANT

__all__ = ["SCOPES", "ApiKey", "KeyFile", "KeyRing"]

SCOPES = {
    "send": "send one message or a batch, as a user or as the system",
    "broadcast": "speak to a list of users or to all of them",
    "groups": "create groups, and change who is in",
    "history": "read conversations",
    "users": "make tokens, list and end sessions, disable users, revoke tokens",
    "stats": "read the server's counters",
}
"""What a key may be for, and what that allows."""

PREFIX = "imk"
FILE = "api-keys.json"
NOBODYS_HASH = sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, without its secret."""

    id: str
    name: str
    tenant: str
    scopes: tuple[str, ...]
    hash: str
    """SHA-256 of the secret, in hex."""
    created_ms: int
    expires_ms: int = 0
    """0: never."""

    def is_valid(self, now_ms: float) -> bool:
        """Whether its time is not over."""
        return not self.expires_ms or now_ms < self.expires_ms


def _read(path: Path) -> dict[str, ApiKey]:
    try:
        entries: list[dict[str, Any]] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    keys = (ApiKey(**{**entry, "scopes": tuple(entry["scopes"])}) for entry in entries)
    return {key.id: key for key in keys}


class KeyFile:
    """The file, as those change it who may write into the data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE

    def all(self) -> list[ApiKey]:
        """Every key, expired ones included."""
        return list(_read(self._path).values())

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        tenant: str = DEFAULT_TENANT,
        ttl_s: float | None = None,
    ) -> tuple[ApiKey, str]:
        """Adds a key; returns it, and what is shown once: the key's text with its secret.

        Raises:
            ValueError: there is no such scope.
            OSError: the file cannot be written.
        """
        wanted = tuple(sorted(set(scopes)))
        if unknown := [scope for scope in wanted if scope not in SCOPES]:
            raise ValueError(f"no scope {unknown[0]!r}; there are {', '.join(SCOPES)}")
        if not wanted:
            raise ValueError("a key needs a scope")
        with self._locked() as keys:
            return self._add(keys, name, wanted, tenant, ttl_s)

    def rotate(self, key_id: str, *, grace_s: float) -> tuple[ApiKey, str]:
        """Adds a key that may do what another may, which ends after `grace_s`.

        Raises:
            KeyError: there is no such key.
            OSError: the file cannot be written.
        """
        with self._locked() as keys:
            old = keys[key_id]
            end_ms = round((time.time() + grace_s) * 1000)
            if old.expires_ms:
                end_ms = min(end_ms, old.expires_ms)
            keys[key_id] = replace(old, expires_ms=end_ms)
            return self._add(keys, old.name, old.scopes, old.tenant, None)

    def revoke(self, key_id: str) -> ApiKey:
        """Takes a key away, at once.

        Raises:
            KeyError: there is no such key.
            OSError: the file cannot be written.
        """
        with self._locked() as keys:
            return keys.pop(key_id)

    @staticmethod
    def _add(
        keys: dict[str, ApiKey],
        name: str,
        scopes: tuple[str, ...],
        tenant: str,
        ttl_s: float | None,
    ) -> tuple[ApiKey, str]:
        now_ms = round(time.time() * 1000)
        secret = secrets.token_urlsafe(32)
        key = ApiKey(
            id=secrets.token_hex(6),
            name=name,
            tenant=tenant,
            scopes=scopes,
            hash=sha256(secret.encode()).hexdigest(),
            created_ms=now_ms,
            expires_ms=0 if ttl_s is None else now_ms + round(ttl_s * 1000),
        )
        keys[key.id] = key
        return key, f"{PREFIX}.{key.id}.{secret}"

    @contextmanager
    def _locked(self) -> Iterator[dict[str, ApiKey]]:
        """The keys, to be changed; what stands in them at the end is written."""
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = _read(self._path)
            yield keys
            now_ms = time.time() * 1000
            kept = [asdict(key) for key in keys.values() if key.is_valid(now_ms)]
            content = orjson.dumps(kept, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
            write_atomically(self._path, content, mode=0o600, durable=True)


class KeyRing:
    """The keys as a worker looks them up."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, ApiKey] = {}

    def find(self, text: str) -> ApiKey | None:
        """The key that a request brought; None: it is none, or none any more."""
        prefix, _, rest = text.partition(".")
        key_id, _, secret = rest.partition(".")
        if prefix != PREFIX or not secret:
            return None
        self._refresh()
        key = self._keys.get(key_id)
        hashed = sha256(secret.encode(errors="replace")).hexdigest()
        # Compared also where there is no key, so that the time tells nothing about ids.
        same = hmac.compare_digest(hashed, NOBODYS_HASH if key is None else key.hash)
        return key if key is not None and same and key.is_valid(time.time() * 1000) else None

    def _refresh(self) -> None:
        """Reads the file if it is another one: writers replace it as a whole."""
        try:
            status = self._path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            self._stamp, self._keys = None, {}
            return
        if stamp != self._stamp:
            self._keys = _read(self._path)
            self._stamp = stamp
