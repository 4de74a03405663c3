"""Who is who in the run: users, the shares of the generator's processes, groups."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Plan"]

FILES_PER_PROCESS = 19_000
"""Connections of one process: 20,000 files less what else it has open."""

WORKER_SHARE = 0.94
"""Of what a worker may hold: the kernel spreads connections by a hash, and the fullest of 50
workers has some 3 % more than the mean."""

TOKEN_SECONDS = 7200


@dataclass(frozen=True)
class Plan:
    """A run: users u0, u1, …, each with one connection and in `groups_each` groups."""

    connections: int
    groups_each: int
    group_members: int

    @property
    def workers(self) -> int:
        """Workers that hold all of them although some get more than others."""
        return max(2, -(-self.connections // int(FILES_PER_PROCESS * WORKER_SHARE)))

    @property
    def members(self) -> int:
        """Of each group, its maker not counted."""
        return min(self.group_members, self.connections)

    @property
    def groups(self) -> int:
        """All groups together have room for everybody `groups_each` times."""
        return -(-self.connections * self.groups_each // self.members)

    def members_of(self, group: int) -> Iterator[str]:
        """Users of a group: those that follow the ones of the group before."""
        first = group * self.members
        for place in range(first, first + self.members):
            yield f"u{place % self.connections}"

    def shares(self) -> list[range]:
        """The users of each process of the generator."""
        count = -(-self.connections // FILES_PER_PROCESS)
        ends = [self.connections * share // count for share in range(count + 1)]
        return [range(*pair) for pair in itertools.pairwise(ends)]


def write_tokens(path: Path, users: range, secret: bytes) -> None:
    """Write a share's file, a line `user token` each (RFC 7519 with HS256)."""
    now = int(time.time())
    head = _base64(b'{"alg":"HS256","typ":"JWT"}')
    lines = []
    for number in users:
        claims = {"sub": f"u{number}", "iat": now, "exp": now + TOKEN_SECONDS}
        signed = head + b"." + _base64(json.dumps(claims, separators=(",", ":")).encode())
        signature = _base64(hmac.digest(secret, signed, hashlib.sha256))
        lines.append(f"u{number} {(signed + b'.' + signature).decode()}\n")
    path.write_text("".join(lines))


def _base64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
