"""Clients that do not read what they are sent: only they notice."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import pytest

import imfast
from imfast.client import Options
from tests.support.plain_client import PlainClient, body_of
from tests.support.server import Server

READERS = 150
STALLED = 50
MESSAGES = 48
BODY = "x" * 8192
SLOW_CONSUMER = 4003
# A reader of ours that reads nothing holds this much in its kernel, and the server's kernel and
# queue this much. MESSAGES are more than all three; CLIENT_MESSAGES are also where the kernel
# chooses what the reader's holds.
RECEIVE_BYTES = 4096
BOUNDS = ("--socket-unsent-bytes", "16KiB", "--send-queue-bytes", "160KiB")
CLIENT_MESSAGES = 160
# Ephemeral messages of each typist to each target, a batch of them in one write.
BATCHES, BATCH = 12, 16
TYPISTS = ("ann", "ben", "cas")
# A hiccup of a loaded machine is none of the stalled ones' doing.
LATENCY_FACTOR, LATENCY_S = 3.0, 0.25


async def enter(
    stack: AsyncExitStack, server: Server, user: str, count: int, receive_bytes: int = 0
) -> list[PlainClient]:
    """Connect a user with `count` devices, each caught up."""
    clients = []
    for number in range(count):
        client = await PlainClient.connect(
            server, user, device=f"{user}-{number}", receive_bytes=receive_bytes
        )
        clients.append(await stack.enter_async_context(client))
    for client in clients:
        async with asyncio.timeout(15):
            await client.caught_up.wait()
    return clients


async def publish(
    publisher: PlainClient, group: str, readers: list[PlainClient], first: int
) -> list[float]:
    """Send messages one by one; how long each took until every reader had it."""
    latencies = []
    for number in range(first, first + MESSAGES):
        began = time.monotonic()
        sent = await publisher.send({"group": group}, f"key-{number}", BODY)
        for reader in readers:
            await reader.wait_seq(group, sent["seq"])
        latencies.append(time.monotonic() - began)
    return latencies


def seqs(client: PlainClient, group: str) -> list[int]:
    return [body_of(row)["seq"] for row in client.rows(group)]


@pytest.mark.timeout(120)
async def test_readers_notice_nothing_of_stalled_ones_which_come_back_without_loss(
    directory: Path,
) -> None:
    async with Server(directory, *BOUNDS, workers=1) as server, AsyncExitStack() as stack:
        [publisher] = await enter(stack, server, "publisher", 1)
        group = await publisher.create_group("everybody", "reader", "stalled")
        readers = await enter(stack, server, "reader", READERS)
        before = await publish(publisher, group, readers, 0)
        stalled = await enter(stack, server, "stalled", STALLED, RECEIVE_BYTES)
        for client in stalled:
            client.stall()
        during = await publish(publisher, group, readers, MESSAGES)
        assert median(during) <= max(LATENCY_FACTOR * median(before), LATENCY_S)
        last = 1 + 2 * MESSAGES  # the first row is the making of the group
        for client in readers:
            assert seqs(client, group)[-MESSAGES:] == list(range(last - MESSAGES + 1, last + 1))
        for client in stalled:
            client.go_on()
        for client in stalled:
            assert await client.wait_closed() == SLOW_CONSUMER
            assert seqs(client, group)[-1:] != [last]
        for client in stalled:
            again = await PlainClient.connect(server, "stalled", sync=client.sync)
            async with again:
                await again.wait_seq(group, last)
                both = seqs(client, group) + seqs(again, group)
                assert sorted(set(both)) == list(range(min(both), last + 1)), "a gap"
                assert seqs(again, group) == sorted(seqs(again, group))


@pytest.mark.timeout(120)
async def test_client_whose_application_stops_iterating_is_closed_and_catches_up(
    directory: Path,
) -> None:
    options = Options(buffer=4, backoff_base=0.01)
    async with Server(directory, *BOUNDS, workers=1) as server, AsyncExitStack() as stack:
        [publisher] = await enter(stack, server, "publisher", 1)
        token = await server.token("idler")
        idler = await stack.enter_async_context(
            imfast.connect(server.url(), token=token, device="phone", options=options)
        )
        first = idler.connected.session
        for number in range(CLIENT_MESSAGES):
            await publisher.send({"user": "idler"}, f"key-{number}", f"{number} {BODY}")
        got = []
        async with asyncio.timeout(60):
            async for update in idler:
                got.append(update.seq)
                if update.seq == CLIENT_MESSAGES:
                    break
        assert got == list(range(1, CLIENT_MESSAGES + 1))
        assert idler.connected.session != first, "the server waited for it"


@pytest.mark.timeout(120)
async def test_stalled_reader_of_ephemeral_messages_gets_the_newest_of_each_sender(
    directory: Path,
) -> None:
    async with Server(directory, *BOUNDS, workers=2) as server, AsyncExitStack() as stack:
        [publisher] = await enter(stack, server, "publisher", 1)
        group = await publisher.create_group("typing", "stalled", *TYPISTS)
        typists = [(await enter(stack, server, user, 1))[0] for user in TYPISTS]
        [stalled] = await enter(stack, server, "stalled", 1, RECEIVE_BYTES)
        stalled.stall()
        targets = ({"group": group}, {"user": "stalled"})
        for batch in range(BATCHES):
            replies = []
            for number in range(batch * BATCH, (batch + 1) * BATCH):
                for typist in typists:
                    replies += typist.post_all(
                        *(
                            ("send", {"to": to, "json": [number, BODY], "ephemeral": True})
                            for to in targets
                        )
                    )
            await asyncio.gather(*replies)
            await publisher.send({"group": group}, f"key-{batch}", batch)
        stalled.go_on()
        await stalled.wait_rows(group, BATCHES)
        await stalled.request("ping", {})
        assert not stalled.closed.is_set()
        assert seqs(stalled, group) == sorted(seqs(stalled, group))
        typed: dict[tuple[str, str], list[int]] = {}
        for push in stalled.pushes:
            if (message := push.get("message")) and message.get("ephemeral"):
                key = message["conversation"], message["from"]
                typed.setdefault(key, []).append(message["json"][0])
        assert len(typed) == len(targets) * len(TYPISTS)
        for key, numbers in typed.items():
            assert numbers[-1] == BATCHES * BATCH - 1, f"not the newest of {key}: {numbers}"
            assert numbers == sorted(set(numbers)), f"out of order: {key}: {numbers}"
        kept = sum(len(numbers) for numbers in typed.values())
        assert kept < BATCHES * BATCH * len(typed) / 2, "the server kept what was worthless"
