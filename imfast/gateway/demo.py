"""The demonstration: one page on which two tabs chat, for development alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import orjson

from imfast.errors import InvalidArgumentError
from imfast.gateway.access import SYSTEM
from imfast.identifiers import is_identifier

__all__ = ["demo_page", "named"]


@cache
def demo_page() -> bytes:
    """The page, which needs nothing else."""
    return Path(__file__).with_name("demo.html").read_bytes()


def named(body: bytes) -> tuple[str, Callable[[str], bytes]]:
    """The user that a page wants to be, and how it is told its token.

    Raises:
        InvalidArgumentError: it names nobody.
    """
    try:
        user = orjson.loads(body)["user"]
    except (ValueError, KeyError, TypeError):
        user = None
    if not is_identifier(user) or user == SYSTEM:
        raise InvalidArgumentError("user: 1 to 128 bytes of UTF-8 without control characters")
    return user, lambda token: orjson.dumps({"user": user, "token": token})
