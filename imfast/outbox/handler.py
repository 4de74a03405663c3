"""The consumer's own function, and calling it."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from imfast.errors import ConfigError
from imfast.outbox.effect import Effect
from imfast.outbox.store import ERROR_CHARACTERS_MAX

__all__ = ["HANGS", "Handler", "function_of"]

log = structlog.get_logger(__name__)

HANGS = 75
"""Exit status of a process whose function did not come back in time. It is started again, and what
was handed over counts as failed."""

Function = Callable[[Sequence[Effect]], Any]


def function_of(module: str, function: str) -> Function:
    """Imports the function.

    Raises:
        ConfigError: there is no such module or function.
    """
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"option after_commit: {module}:{function}: {error}; the module has to be installed, or"
            " its folder named in PYTHONPATH"
        ) from error
    if not callable(found):
        raise ConfigError(f"option after_commit: {module}:{function} is not a function")
    called: Function = found
    return called


class Handler:
    """Calls the function, one call at a time; a plain one on a thread of its own."""

    def __init__(self, function: Function, timeout_s: float) -> None:
        self._function = function
        self._timeout_s = timeout_s
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="consumer")

    async def call(self, effects: Sequence[Effect]) -> str | None:
        """Hands effects over; returns how that failed, None where it did not."""
        try:
            if self._is_async:
                async with asyncio.timeout(self._timeout_s):
                    await self._function(effects)
            else:
                await self._on_thread(effects)
        except TimeoutError:
            return f"no answer within {self._timeout_s:g} s"
        except Exception as error:
            log.warning("consumer_failed", effects=len(effects), exc_info=error)
            lines = traceback.format_exception_only(error)
            return "".join(lines).strip()[:ERROR_CHARACTERS_MAX]
        return None

    async def _on_thread(self, effects: Sequence[Effect]) -> None:
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._thread, self._function, effects)
        done, _ = await asyncio.wait([running], timeout=self._timeout_s)
        if not done:
            # A thread cannot be stopped, and must not go on beside the next attempt.
            log.error("consumer_hangs", effects=len(effects), timeout_s=self._timeout_s)
            os._exit(HANGS)
        await running
