"""Waiting for something that another process does: by looking again, never by a fixed sleep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["until"]

T = TypeVar("T")

POLL_SECONDS = 0.01


async def until(
    look: Callable[[], T | None], what: str, *, timeout: float = 10.0, every: float = POLL_SECONDS
) -> T:
    """Return the first true value of `look`; fail with `what` after `timeout` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        value = look()
        if value:
            return value
        if loop.time() >= deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        await asyncio.sleep(every)
