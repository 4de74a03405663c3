"""What was called back: tokens of a user up to a time, single tokens, users that are disabled.

The supervisor alone writes the file, and tells all workers of a change before whoever asked for it
has the answer. A worker reads the file when it starts.
"""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path
from typing import Any, TypedDict

import orjson

from imfast.config.durable_file import write_atomically

__all__ = ["Change", "Revocations", "credential_of"]

FILE = "revocations.json"
TOKEN_KEPT_S = 400 * 86400.0
"""How long a single token stays called back: longer than any that the command line makes."""


class Change(TypedDict, total=False):
    """One change. Fields that are absent leave alone what they are about."""

    tenant: str
    user: str
    disabled: bool
    before_s: int
    """Tokens of the user that were issued before this second are worth nothing."""
    credential: int
    """This token is worth nothing."""


def credential_of(token: str) -> int:
    """Names a token without being one: 63 bits of its SHA-256, never 0."""
    return int.from_bytes(sha256(token.encode(errors="replace")).digest()[:8]) >> 1 | 1


class Revocations:
    """All of them. Cheap to ask: two look-ups for each token that is shown."""

    def __init__(self, data_dir: Path) -> None:
        """Reads what there is.

        Raises:
            OSError: the file cannot be read.
            ValueError: it holds something else.
        """
        self._path = data_dir / FILE
        self._users: dict[str, dict[str, Any]] = {}
        self._tokens: dict[int, int] = {}
        try:
            content = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            return
        self._users = content["users"]
        self._tokens = {int(name): until for name, until in content["tokens"].items()}

    def apply(self, change: Change) -> None:
        """Takes a change."""
        if "user" in change:
            entry = self._users.setdefault(f"{change['tenant']}\0{change['user']}", {})
            if "before_s" in change:
                entry["before_s"] = max(change["before_s"], entry.get("before_s", 0))
            if change.get("disabled"):
                entry["disabled"] = True
            elif "disabled" in change:
                entry.pop("disabled", None)
            if not entry:
                del self._users[f"{change['tenant']}\0{change['user']}"]
        if "credential" in change:
            self._tokens[change["credential"]] = round(time.time() + TOKEN_KEPT_S)

    def write(self) -> None:
        """Makes it durable.

        Raises:
            OSError: it is not.
        """
        now = time.time()
        self._tokens = {name: until for name, until in self._tokens.items() if until > now}
        tokens = {str(name): until for name, until in self._tokens.items()}
        content = orjson.dumps({"users": self._users, "tokens": tokens})
        write_atomically(self._path, content, mode=0o600, durable=True)

    def is_disabled(self, tenant: str, user: str) -> bool:
        """Whether a user is not let in at all."""
        return bool(self._users.get(f"{tenant}\0{user}", {}).get("disabled"))

    def not_before_s(self, tenant: str, user: str) -> int:
        """The first second whose tokens of the user count; 0: all do."""
        before_s: int = self._users.get(f"{tenant}\0{user}", {}).get("before_s", 0)
        return before_s

    def covers(self, tenant: str, user: str, issued_at_ms: int, credential: int) -> bool:
        """Whether a good token is worth nothing any more. One without `iat` counts as old."""
        if credential in self._tokens:
            return True
        entry = self._users.get(f"{tenant}\0{user}")
        if entry is None:
            return False
        return bool(entry.get("disabled")) or issued_at_ms < entry.get("before_s", 0) * 1000
