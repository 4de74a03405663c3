"""The queue before the application: bounds, order, and tokens that are never ahead."""

from __future__ import annotations

import asyncio

import pytest

from imfast.client.inbox import Inbox
from imfast.client.models import Message, Sync


def row(seq: int) -> Message:
    return Message("g.1", seq, 1000 + seq, "alice", 5, text=str(seq))


def inbox(limit: int = 4, taken: list[None] | None = None) -> Inbox:
    return Inbox(
        Sync("T0", {}),
        limit=limit,
        on_room=lambda: (taken if taken is not None else []).append(None),
    )


async def test_token_is_the_applications_once_all_before_it_is_taken() -> None:
    queue = inbox()
    queue.put(row(1))
    queue.put(row(2))
    queue.put_token("T2")
    queue.put(row(3))
    assert queue.sync == Sync("T0", {})
    await queue.get()
    assert queue.sync == Sync("T0", {"g.1": 1})
    await queue.get()
    assert queue.sync == Sync("T2", {"g.1": 2})


async def test_later_token_replaces_one_that_waits() -> None:
    queue = inbox()
    queue.put(row(1))
    queue.put_token("T1")
    queue.put_token("T2")
    await queue.get()
    assert queue.sync.token == "T2"
    queue.put_token("T3")
    assert queue.sync.token == "T3", "nothing waits before it"


async def test_full_at_the_limit_and_room_is_told() -> None:
    taken: list[None] = []
    queue = inbox(limit=2, taken=taken)
    queue.put(row(1))
    assert not queue.full
    queue.put(row(2))
    assert queue.full
    assert len(queue) == 2
    await queue.get()
    assert not queue.full
    assert taken == [None]


async def test_cancelled_wait_loses_nothing() -> None:
    queue = inbox()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(row(1))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await queue.get() == row(1)


async def test_end_comes_after_what_is_queued() -> None:
    queue = inbox()
    queue.put(row(1))
    queue.end(ValueError("why"))
    queue.end()
    assert await queue.get() == row(1)
    for _ in range(2):
        with pytest.raises(ValueError, match="why"):
            await queue.get()


async def test_end_wakes_who_waits() -> None:
    queue = inbox()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.end()
    with pytest.raises(StopAsyncIteration):
        await waiting
