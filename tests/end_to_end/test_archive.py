"""Rows that left memory are read from the archive, and a start folds only what came after it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.end_to_end.test_data import DAMAGED, data
from tests.support.deadline import until
from tests.support.plain_client import Frame, PlainClient, body_of
from tests.support.server import Server

MESSAGES = 3_000
BODY = "x" * 1_000
BATCH = 200
SMALL = ("--rows-memory-bytes", "1MiB", "--archive-batch-commands", str(BATCH))
"""A third of the messages fits in memory."""


def files_of(archive: Path) -> int:
    return sum(1 for file in archive.rglob("*") if file.is_file())


async def fill(alice: PlainClient, group: str, first: int, count: int) -> None:
    """Send in the order of their keys: the replies of a connection come in order."""
    for start in range(first, first + count, 100):
        keys = range(start, min(start + 100, first + count))
        bodies = [
            {"to": {"group": group}, "key": f"k{key}", "json": {"n": key, "pad": BODY}}
            for key in keys
        ]
        replies = await asyncio.gather(*(alice.post("send", body) for body in bodies))
        assert all("sent" in reply for reply in replies), replies


def numbers(rows: list[Frame]) -> list[int]:
    return [body_of(row)["json"]["n"] for row in rows if "message" in row]


async def check(server: Server, group: str, sync: str, count: int) -> None:
    """All rows are there, by pages and by catch-up, and a retry finds its first result."""
    async with AsyncExitStack() as stack:
        bob = await stack.enter_async_context(await PlainClient.connect(server, "bob", sync=sync))
        alice = await stack.enter_async_context(await PlainClient.connect(server, "alice"))
        # The creation of the group is the first row.
        await bob.wait_seq(group, count + 1, timeout=30)
        caught_up = bob.rows(group)
        assert [body_of(row)["seq"] for row in caught_up] == list(range(1, count + 2))
        assert numbers(caught_up) == list(range(count))
        assert await alice.history(group) == caught_up
        assert await alice.conversations() == [group]
        oldest = caught_up[1]
        again = await alice.send({"group": group}, "k0", {"n": 0, "pad": BODY})
        assert (again["seq"], again["duplicate"]) == (2, True)
        assert again["messageId"] == body_of(oldest)["messageId"]


async def test_rows_that_left_memory_are_read_again_and_a_start_folds_the_rest_only(
    tmp_path: Path,
) -> None:
    async with Server(tmp_path, "--partitions", "1", *SMALL, workers=1) as server:
        alice = await PlainClient.connect(server, "alice")
        bob = await PlainClient.connect(server, "bob")
        await bob.wait(lambda: bob.sync, "a sync token")
        sync = bob.sync
        await bob.close()
        group = await alice.create_group("g", "bob")
        await fill(alice, group, 0, MESSAGES)
        await check(server, group, sync, MESSAGES)
        await server.kill_all()
        await server.start()
        await check(server, group, sync, MESSAGES)
        # What the archive had not taken yet: two batches under way, and one that gathered.
        replayed = server.lines("partition open")[-1]["commands"]
        assert replayed <= 3 * BATCH + 100
        again = await PlainClient.connect(server, "alice")
        await fill(again, group, MESSAGES, 500)
        await check(server, group, sync, MESSAGES + 500)
        await again.close()


def flip_bytes(archive: Path) -> None:
    for file in archive.rglob("*"):
        if file.is_file() and file.stat().st_size > 0 and file.name != "lock":
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 0x55
            file.write_bytes(content)


@pytest.mark.parametrize("harm", [flip_bytes, shutil.rmtree], ids=["damaged", "removed"])
async def test_archive_that_is_of_no_use_is_made_anew_from_the_log(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    async with Server(tmp_path, "--partitions", "1", *SMALL, workers=1) as server:
        alice = await PlainClient.connect(server, "alice")
        bob = await PlainClient.connect(server, "bob")
        await bob.wait(lambda: bob.sync, "a sync token")
        sync = bob.sync
        await bob.close()
        group = await alice.create_group("g", "bob")
        await fill(alice, group, 0, 1_000)
        archive = server.data / "partitions" / "0" / "archive"
        await until(lambda: files_of(archive) > 8, "an archive with content")
        await server.kill_all()
        harm(archive)
        await server.start()
        await check(server, group, sync, 1_000)
        assert server.lines("partition open")[-1]["commands"] >= 1_000
        warned = server.lines("archive put aside and made anew from the log")
        assert len(warned) == (1 if harm is flip_bytes else 0)


async def test_archive_whose_log_is_gone_is_served_from_and_refused_when_it_is_damaged(
    tmp_path: Path,
) -> None:
    segments = ("--segment-bytes", "1MiB")
    async with Server(tmp_path, "--partitions", "1", *SMALL, *segments, workers=1) as server:
        alice = await PlainClient.connect(server, "alice")
        bob = await PlainClient.connect(server, "bob")
        await bob.wait(lambda: bob.sync, "a sync token")
        sync = bob.sync
        await bob.close()
        group = await alice.create_group("g", "bob")
        await fill(alice, group, 0, MESSAGES)
        await server.kill_all()
        partition = server.data / "partitions" / "0"
        logs = sorted(partition.glob("*.log"))
        assert len(logs) > 2
        logs[0].unlink()
        verified = await data("verify", "--json", "--data-dir", server.data)
        assert verified.status == 0, verified.out
        await server.start()
        await check(server, group, sync, MESSAGES)
        await server.kill_all()
        flip_bytes(partition / "archive")
        verified = await data("verify", "--data-dir", server.data)
        assert verified.status == DAMAGED
        assert "imfast data restore" in verified.out
        refused = server.spawn()
        await until(lambda: refused.poll() is not None, "the end of a server that cannot start")
        assert refused.returncode == DAMAGED
        server.process = None
        assert not list(partition.glob("archive.aside*"))
        assert "imfast data restore" in server.log.read_text()
