"""A model server and a client for it, over every transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from imfast.client import IMFast, Options, Sync, connect
from tests.unit.client.model_server import ModelServer

# Delays that tests can wait for.
QUICK = Options(
    backoff_base=0.01, backoff_cap=0.05, request_timeout=5.0, connect_timeout=5.0, buffer=64
)
Connect = Callable[..., IMFast]


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """Serves for one test, and asserts that no task of it or of the client is left."""
    before = asyncio.all_tasks()
    async with ModelServer().running() as running:
        yield running
    # The server's own handlers end when they next run.
    for _ in range(50):
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not left:
            break
        await asyncio.sleep(0.01)
    assert not left


@pytest.fixture
def client(server: ModelServer) -> Connect:
    """Makes clients of the server over WebSocket and JSON."""

    def make(user: str = "alice", *, sync: Sync | None = None, options: Options = QUICK) -> IMFast:
        return connect(server.url(), token=user, sync=sync, options=options)

    return make
