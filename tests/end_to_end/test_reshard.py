"""`imfast data reshard`: another number of partitions, and everything is there as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.test_data import DATA_DIRECTORY, data
from tests.support.data_fixture import OPTIONS, USERS, fill, seen_by
from tests.support.plain_client import PlainClient
from tests.support.server import Server

SMALL = OPTIONS[2:]
"""Without the number of partitions."""


async def check(server: Server, expected: dict[str, Any], sync: str) -> None:
    clients = {
        user: await PlainClient.connect(server, user, sync=sync if user == "bob" else "")
        for user in USERS
    }
    assert await seen_by(clients) == expected["seen"]
    for sender, to, key, text, seq, message_id in expected["sends"]:
        again = await clients[sender].send(to, key, text)
        assert (again["seq"], again["messageId"], again["duplicate"]) == (seq, message_id, True)
    for client in clients.values():
        await client.close()


@pytest.mark.parametrize("partitions", [1, 5])
async def test_resharded_directory_has_every_conversation_number_member_and_key(
    tmp_path: Path, partitions: int
) -> None:
    target = tmp_path / "new" / "data"
    async with Server(tmp_path / "old", *OPTIONS, workers=1) as server:
        expected = await fill(server)
        bob = await PlainClient.connect(server, "bob")
        await bob.wait(lambda: bob.sync, "a sync token")
        sync = bob.sync
        await bob.close()
        running = await data("reshard", target, "--partitions", 3, "--data-dir", server.data)
        assert running.status != 0
        assert "in use" in running.err
        await server.kill_all()
        done = await data("reshard", target, "--partitions", partitions, "--data-dir", server.data)
        assert done.status == 0, done.err
        assert f"{len(expected['sends']):,} keys in {partitions} partitions" in done.out
        again = await data("reshard", target, "--partitions", 2, "--data-dir", server.data)
        assert again.status == DATA_DIRECTORY
    verified = await data("verify", "--data-dir", target)
    assert verified.status == 0, verified.out
    async with Server(tmp_path / "new", *SMALL, workers=2) as server:
        await check(server, expected, sync)
        alice = await PlainClient.connect(server, "alice")
        sent = await alice.send({"user": "bob"}, "in the new layout", "hello")
        await alice.close()
        await server.kill_all()
        await server.start()
        later = await PlainClient.connect(server, "alice")
        repeated = await later.send({"user": "bob"}, "in the new layout", "hello")
        assert (repeated["seq"], repeated["duplicate"]) == (sent["seq"], True)
        await later.close()
