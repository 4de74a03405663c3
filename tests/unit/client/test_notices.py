"""Receipts and presence on their way to the application."""

from __future__ import annotations

import asyncio

import pytest

from imfast.client import KickedError, Notices, Presence, Receipt


def receipts(limit: int = 8) -> Notices[Receipt]:
    return Notices(lambda one: (one.conversation, one.user), limit=limit)


async def test_newer_notice_of_the_same_replaces_one_that_waits() -> None:
    notices = receipts()
    notices.put(Receipt("d.x", "bob", 1, 0))
    notices.put(Receipt("d.x", "carol", 1, 0))
    notices.put(Receipt("d.x", "bob", 3, 2))
    assert [await anext(notices) for _ in range(2)] == [
        Receipt("d.x", "bob", 3, 2),
        Receipt("d.x", "carol", 1, 0),
    ]
    notices.put(Receipt("d.x", "bob", 4, 2))
    assert (await anext(notices)).delivered_seq == 4


async def test_oldest_notice_goes_when_there_are_too_many() -> None:
    notices = receipts(limit=2)
    for number in range(5):
        notices.put(Receipt(f"d.{number}", "bob", 1, 0))
    assert len(notices) == 2
    assert (await anext(notices)).conversation == "d.3"


async def test_iteration_waits_and_ends_as_the_client_does() -> None:
    notices: Notices[Presence] = Notices(lambda one: one.user, limit=8)
    waiting = asyncio.ensure_future(anext(notices))
    await asyncio.sleep(0)
    assert not waiting.done()
    notices.put(Presence("bob", "online"))
    assert await waiting == Presence("bob", "online")
    notices.put(Presence("bob", "offline", 7))
    notices.end(None)
    assert [one async for one in notices] == [Presence("bob", "offline", 7)]
    failed = receipts()
    failed.end(KickedError("kicked"))
    with pytest.raises(KickedError):
        await anext(failed)
