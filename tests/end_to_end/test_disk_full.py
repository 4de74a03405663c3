"""A full disk: errors that may be retried, reads that go on, service that resumes, no gap."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.soak.small_disk import CannotMountError, SmallDisk
from tests.support.ledger import Ledger
from tests.support.plain_client import Frame, PlainClient, body_of
from tests.support.server import Server

DISK_MEBIBYTES = 96


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system of its own that is soon full."""
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(SmallDisk(tmp_path / "disk", mebibytes=DISK_MEBIBYTES))
        except CannotMountError as error:
            pytest.skip(f"NOT CHECKED what a full disk does: {error}")
        yield disk


@pytest.mark.timeout(120)
async def test_full_disk_fails_sends_and_nothing_else(small_disk: SmallDisk) -> None:
    server = Server(small_disk.directory)
    ledger = Ledger()
    async with server, await PlainClient.connect(server, "alice") as alice:
        receivers = [f"bob-{number}" for number in range(8)]
        tos = [{"user": receiver} for receiver in receivers]
        body = "x" * 20_000
        first = [ledger.post(alice, to, body) for to in tos]
        for one in first:
            assert one.reply is not None
            await asyncio.wait_for(one.reply, 15)
        assert ledger.acknowledged == len(tos)
        conversations = [one.sent["conversation"] for one in first if one.sent is not None]

        small_disk.fill()
        refused = None
        # Room that was set aside for the log is used up before the disk's end is felt.
        for number in range(20_000):
            one = ledger.post(alice, tos[number % len(tos)], body)
            assert one.reply is not None
            await asyncio.wait_for(one.reply, 15)
            if one.error is not None:
                refused = one.error
                break
        assert refused is not None, "the disk never got full"
        assert refused["retryable"], refused
        assert refused["name"] in ("storage_full", "outcome_unknown")
        for conversation in conversations:
            assert await alice.history(conversation), "reads go on"
        await alice.request("ping", {})

        small_disk.free()
        for to in tos:
            assert (await retry_until_stored(ledger, alice, to))["seq"] > 1
        histories = {
            conversation: await alice.history(conversation) for conversation in conversations
        }
        ledger.check(histories)
        await server.kill_all()
        await server.start()
        async with await PlainClient.connect(server, "alice") as again:
            assert histories == {
                conversation: await again.history(conversation) for conversation in conversations
            }
            rows = histories[conversations[0]]
            assert body_of(rows[-1])["seq"] == len(rows)


async def retry_until_stored(ledger: Ledger, alice: PlainClient, to: Frame) -> Frame:
    """Send until it works: the server says that it may."""
    async with asyncio.timeout(20):
        while True:
            one = ledger.post(alice, to, "after")
            assert one.reply is not None
            await one.reply
            if one.sent is not None:
                return one.sent
            assert one.error is not None
            assert one.error["retryable"], one.error
            await asyncio.sleep(one.error.get("retryAfterMs", 100) / 1000)
