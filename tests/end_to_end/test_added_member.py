"""A member who is added in the same breath in which others send gets each row exactly once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.support.plain_client import PlainClient
from tests.support.server import Server

SENDS = 40


@pytest.mark.parametrize("owner", [0, 1])
@pytest.mark.parametrize("member", [0, 1])
async def test_member_created_and_written_to_in_one_batch_gets_each_row_once(
    shared: Server, owner: int, member: int
) -> None:
    """Creation, joins and messages share a batch: live delivery must begin exactly behind it."""
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(
            await PlainClient.connect(shared, f"batch-alice-{owner}-{member}", worker=owner)
        )
        name = f"batch-bob-{owner}-{member}"
        bob = await stack.enter_async_context(
            await PlainClient.connect(shared, name, worker=member)
        )
        for round_number in range(8):
            key = f"batch {owner} {member} {round_number}"
            created = await alice.request("group", {"create": {"key": key, "members": []}})
            group = created["group"]["conversation"]
            adding = ("group", {"add": {"conversation": group, "key": "a", "users": [name]}})
            sends = [
                ("send", {"to": {"group": group}, "key": f"s{number}", "json": number})
                for number in range(SENDS)
            ]
            replies = alice.post_all(*sends[: SENDS // 2], adding, *sends[SENDS // 2 :])
            for reply in replies:
                await asyncio.wait_for(reply, 15)
            last = 1 + SENDS + 1
            await bob.wait_seq(group, last)
            rows = [push.get("message") or push.get("event") for push in bob.pushes]
            seqs = [row["seq"] for row in rows if row and row["conversation"] == group]
            assert seqs == list(range(1 + SENDS // 2 + 1, last + 1)), key
