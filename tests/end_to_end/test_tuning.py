"""Options of the engine, as a client or an operator sees their effect."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path

import pytest

from tests.support.plain_client import PlainClient, RefusedError, body_of
from tests.support.server import Server

KIB = 1024


def threads_of(pid: int) -> list[int]:
    return [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]


async def test_workers_are_pinned_to_the_processors_in_turn(directory: Path):
    possible = sorted(os.sched_getaffinity(0))
    async with Server(directory, "--cpu-affinity", "auto") as server:
        for index in (0, 1):
            pid = server.worker(index).pid
            expected = {possible[index % len(possible)]}
            # The log's threads too: what they save on one processor they would take from another.
            for thread in threads_of(pid):
                assert os.sched_getaffinity(thread) == expected


async def test_log_begins_a_new_file_at_the_length_that_was_set(directory: Path):
    async with Server(directory, "--segment-bytes", "1MiB", workers=1) as server:
        client = await PlainClient.connect(server, "alice")
        async with client:
            for number in range(50):
                await client.send({"user": "bob"}, str(number), "x" * 60 * KIB)
        segments = list(server.data.glob("partitions/*/*.log"))
        assert len(segments) >= 3
        assert all(segment.stat().st_size < 1.2 * KIB * KIB for segment in segments)


async def test_group_takes_no_more_members_than_were_set(directory: Path):
    async with Server(directory, "--group-members-max", "3") as server:
        alice = await PlainClient.connect(server, "alice")
        async with alice:
            group = await alice.create_group("g", "bob", "carol")
            addition = {"conversation": group, "key": "more", "users": ["dave"]}
            with pytest.raises(RefusedError) as refused:
                await alice.request("group", {"add": addition})
            assert refused.value.name == "group_full"


async def test_small_slices_and_pages_lose_nothing(directory: Path):
    flags = ["--fan-out-slice-sockets", "1", "--fan-out-slice-s", "0.1ms"]
    flags += ["--events-per-tick", "1", "--accepts-per-tick", "1", "--control-slice-s", "0.1ms"]
    flags += ["--catch-up-page-rows", "1", "--catch-up-page-bytes", "4KiB"]
    others = ["bob", "carol", "dave"]
    async with Server(directory, *flags) as server:
        sender = await PlainClient.connect(server, "alice")
        group = await sender.create_group("g", *others)
        live = [await PlainClient.connect(server, user, device="live") for user in others]
        for client in live:
            await client.caught_up.wait()
        tokens = [client.sync for client in live]
        sends = (sender.send({"group": group}, str(n), {"n": n}) for n in range(30))
        await asyncio.gather(*sends)
        late = [
            await PlainClient.connect(server, user, device="late", sync=sync)
            for user, sync in zip(others, tokens, strict=True)
        ]
        for client in (*live, *late):
            await client.wait_seq(group, 31)
            seqs = [body_of(row)["seq"] for row in client.rows(group)]
            assert seqs == list(range(2, 32))
        for client in (sender, *live, *late):
            await client.close()


async def test_load_that_never_lets_up_is_not_refused_as_a_backlog(directory: Path):
    flags = ["--inbox-bytes-max", "1MiB", "--batch-commands-max", "16"]
    flags += ["--requests-in-flight-max", "64"]
    async with Server(directory, *flags, workers=1) as server:
        clients = [await PlainClient.connect(server, f"user-{n}") for n in range(4)]
        # Some 4 MB pass in all, 300 kB at most wait at one time.
        sends = (
            client.send({"user": "bob"}, f"{client.user}-{number}", "x" * KIB)
            for number in range(1000)
            for client in clients
        )
        await asyncio.gather(*sends)
        for client in clients:
            await client.close()


async def test_window_that_filled_up_opens_again_without_further_bytes(directory: Path):
    async with Server(directory, "--requests-in-flight-max", "8", workers=1) as server:
        client = await PlainClient.connect(server, "alice")
        async with client:
            sends = (client.send({"user": "bob"}, str(number), number) for number in range(200))
            sent = await asyncio.gather(*sends)
            assert [one["seq"] for one in sent] == list(range(1, 201))


async def test_checkpoints_come_as_often_as_was_set(directory: Path):
    async with Server(directory, "--checkpoint-s", "0.25s", workers=1) as server:
        alice = await PlainClient.connect(server, "alice")
        async with alice:
            loop = asyncio.get_running_loop()
            end = loop.time() + 2.0
            for number in itertools.count():
                if loop.time() >= end:
                    break
                await alice.send({"user": "bob"}, str(number), number)
                await asyncio.sleep(0.02)  # paces what is sent; nothing waits for it
            tokens = {push["checkpoint"]["token"] for push in alice.pushes if "checkpoint" in push}
        assert len(tokens) > 3, "once a second would be three at most"


async def test_call_names_no_more_users_than_were_set(directory: Path):
    async with Server(directory, "--members-per-call-max", "2", workers=1) as server:
        client = await PlainClient.connect(server, "alice")
        async with client:
            for members, refused in ((["b", "c"], False), (["b", "c", "d"], True)):
                create = {"create": {"key": str(len(members)), "members": members}}
                if not refused:
                    assert (await client.request("group", create))["group"]["seq"] == 1
                    continue
                with pytest.raises(RefusedError) as refusal:
                    await client.request("group", create)
                assert refusal.value.name == "too_many_members"
