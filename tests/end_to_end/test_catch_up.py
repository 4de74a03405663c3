"""Catch-ups of many pages."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.plain_client import PlainClient, body_of
from tests.support.server import Server


async def test_pages_of_a_catch_up_follow_each_other_without_a_timer(tmp_path: Path) -> None:
    small_pages = ("--catch-up-page-rows", "1", "--partitions", "1")
    async with Server(tmp_path, *small_pages, workers=1) as server:
        alice = await PlainClient.connect(server, "alice")
        bob = await PlainClient.connect(server, "bob")
        await bob.wait(lambda: bob.sync, "a sync token")
        sync = bob.sync
        await bob.close()
        group = await alice.create_group("g", "bob")
        sends = [
            ("send", {"to": {"group": group}, "key": f"k{number}", "json": {"n": number}})
            for number in range(300)
        ]
        await asyncio.gather(*(alice.post(*send) for send in sends))
        # At one page each tick of the engine's timer this takes over a minute.
        again = await PlainClient.connect(server, "bob", sync=sync)
        await again.wait_seq(group, 301, timeout=15)
        assert [body_of(row)["seq"] for row in again.rows(group)] == list(range(1, 302))
        await again.close()
        await alice.close()
