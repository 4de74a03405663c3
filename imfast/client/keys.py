"""Idempotency keys: UUID version 7 (RFC 9562, section 5.7).

The server refuses a UUIDv7 older than its dedupe window instead of taking it for something new,
so that a very late retry never makes a second copy. The time in the key is that of the first
attempt: a retry must reuse the key.
"""

from __future__ import annotations

import secrets
import time
from uuid import UUID

__all__ = ["idempotency_key"]


def idempotency_key(now_ms: int | None = None) -> str:
    """Make a key: 48 bits of wall time in ms, then 74 random bits.

    Keys only have to differ, not to be ordered within a millisecond, so no counter is kept.
    """
    milliseconds = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    random = secrets.randbits(74)
    value = (milliseconds & (2**48 - 1)) << 80
    value |= 0x7 << 76
    value |= (random >> 62) << 64
    value |= 0b10 << 62
    value |= random & (2**62 - 1)
    return str(UUID(int=value))
