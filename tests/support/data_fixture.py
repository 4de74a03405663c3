"""Makes the data directories of tests/data: what a server left, and what clients saw of it.

    python -m tests.support.data_fixture tests/data/format-1

Run it with the last revision that writes a format, before the first that writes another.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.support.plain_client import Frame, PlainClient
from tests.support.server import Server

OPTIONS = (
    "--partitions", "2", "--rows-memory-bytes", "1MiB", "--archive-batch-commands", "64",
    "--segment-bytes", "1MiB",
)  # fmt: skip
USERS = ("alice", "bob", "carol", "dave")
MESSAGES = 200


def rows_of(rows: list[Frame]) -> list[Any]:
    """What may never change of a history."""
    return [[name, body] for row in rows for name, body in row.items()]


async def seen_by(clients: dict[str, PlainClient]) -> dict[str, Any]:
    """Every user's conversations with all their rows, and the members of groups."""
    seen: dict[str, Any] = {}
    for user, client in clients.items():
        mine = seen.setdefault(user, {})
        for conversation in sorted(await client.conversations()):
            mine[conversation] = rows_of(await client.history(conversation))
    return seen


async def fill(server: Server) -> dict[str, Any]:
    clients = {user: await PlainClient.connect(server, user) for user in USERS}
    alice = clients["alice"]
    groups = [
        await alice.create_group("first", "bob", "carol"),
        await clients["bob"].create_group("second", "dave"),
        await clients["carol"].create_group("third", "alice", "bob", "dave"),
    ]
    sends = []
    for number in range(MESSAGES):
        sender = USERS[number % 3]
        to = (
            {"group": groups[2 if sender == "carol" else 0]}
            if number % 2
            else {"user": USERS[(number + 1) % 4]}
        )
        key = f"key {number}"
        text = f"message {number}"
        if to.get("user") == sender:
            continue
        sent = await clients[sender].send(to, key, text)
        sends.append([sender, to, key, text, sent["seq"], sent["messageId"]])
    seen = await seen_by(clients)
    for client in clients.values():
        await client.close()
    return {"seen": seen, "sends": sends}


async def make(target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        async with Server(Path(scratch), *OPTIONS, workers=1) as server:
            expected = await fill(server)
            await server.stop()
        target.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(target.with_suffix(".tar.xz"), "w:xz") as archive:
            archive.add(server.data, arcname="data", filter=without_owner)
    text = json.dumps(expected, indent=None, separators=(",", ":"))
    target.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Nothing of the machine; no keys, no locks' content, no sockets."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    keeps = ("data", "data/layout.json", "data/partitions")
    return entry if entry.name in keeps or entry.name.startswith("data/partitions/") else None


if __name__ == "__main__":
    asyncio.run(make(Path(sys.argv[1])))
