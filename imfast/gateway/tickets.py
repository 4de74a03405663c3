"""Tickets: what a browser's EventSource, which can send no header, brings in the place of a token.

A ticket is a random number that works once, for some seconds, on any worker: it may stand in a URL,
and so in the log of a proxy. Each is a small file that whoever takes it first removes; the kernel
lets one remove it. Its name is a hash, so that a list of the directory is no list of tickets.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import orjson

from imfast.errors import OverloadedError, StorageFullError, TokenInvalidError
from imfast.gateway.authenticate import Identity

__all__ = ["PREFIX", "TICKET_S", "Tickets"]

TICKET_S = 30.0
"""How long a ticket can be used."""

PREFIX = "tk."
"""Tells a ticket from a token, which it may stand in for at `connect`."""

OUTSTANDING_MAX = 10_000
"""Tickets of one worker that nobody has used."""


class Tickets:
    """Makes tickets and takes them back. One directory serves all workers of a server."""

    def __init__(self, directory: Path) -> None:
        """The directory is made when it is first needed."""
        self._directory = directory
        self._made: deque[tuple[float, Path]] = deque()
        """When each may be removed, the oldest first."""
        self._prepared = False

    def issue(self, user: str, tenant: str, expires_at_ms: int, credential: int = 0) -> str:
        """A ticket for a user, whose session will end at that time (0: never).

        It stands on the token that `credential` names.

        Raises:
            OverloadedError: too many wait to be used.
            StorageFullError: it cannot be written down.
        """
        now = time.time()
        self._forget(now)
        if len(self._made) >= OUTSTANDING_MAX:
            raise OverloadedError("too many tickets wait to be used", round(TICKET_S * 1000))
        ticket = PREFIX + secrets.token_urlsafe(24)
        path = self._path(ticket)
        content = orjson.dumps([user, tenant, expires_at_ms, now + TICKET_S, credential, now])
        try:
            self._prepare(now)
            path.write_bytes(content)
        except OSError as error:
            raise StorageFullError(f"no ticket can be written: {error.strerror}") from None
        self._made.append((now + TICKET_S, path))
        return ticket

    def redeem(self, ticket: str) -> Identity:
        """Whose a ticket is. It is worth nothing afterwards.

        Raises:
            TokenInvalidError: it never was one, was used, or is too old.
        """
        path = self._path(ticket)
        try:
            content = path.read_bytes()
            # Of two that read it, one removes it.
            path.unlink()
            user, tenant, expires_at_ms, until, credential, made = orjson.loads(content)
        except (OSError, ValueError):
            raise TokenInvalidError("the ticket is not one, or was used") from None
        if time.time() >= until:
            raise TokenInvalidError("the ticket is too old")
        return Identity(
            user=user,
            tenant=tenant,
            expires_at_ms=expires_at_ms,
            issued_at_ms=int(made * 1000),
            credential=credential,
        )

    def _path(self, ticket: str) -> Path:
        return self._directory / sha256(ticket.encode(errors="replace")).hexdigest()[:32]

    def _prepare(self, now: float) -> None:
        """Makes the directory, and removes what a worker before this one has left."""
        if self._prepared:
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._directory.iterdir():
            with suppress(OSError):
                if path.stat().st_mtime + TICKET_S < now:
                    path.unlink()
        self._prepared = True

    def _forget(self, now: float) -> None:
        while self._made and self._made[0][0] <= now:
            _, path = self._made.popleft()
            with suppress(OSError):
                path.unlink(missing_ok=True)
