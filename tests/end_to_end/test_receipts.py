"""Who has got and read what: cursors, receipts, unread counts, over every transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from imfast.access.sign import sign_token
from imfast.client import Group, IMFast, Message, Options, Receipt, connect
from imfast.config.load import load
from tests.support.deadline import until
from tests.support.event_stream import EventStream
from tests.support.plain_client import PlainClient, RefusedError
from tests.support.raw_http import RawHttp, post
from tests.support.server import Server

TRANSPORTS = {
    "json": ("ws", Options()),
    "protobuf": ("ws", Options(protobuf=True)),
    "tcp": ("tcp", Options()),
}


async def client(server: Server, user: str, device: str, transport: str = "json") -> IMFast:
    scheme, options = TRANSPORTS[transport]
    token = await server.token(user)
    return connect(server.url(scheme), token=token, device=device, options=options)


async def receipt_until(im: IMFast, wanted: Callable[[Receipt], bool]) -> Receipt:
    async with asyncio.timeout(15):
        async for receipt in im.receipts:
            if wanted(receipt):
                return receipt
    raise AssertionError("the client ended")


async def unread(im: IMFast, conversation: str) -> int:
    page = await im.conversations(limit=200)
    return next(one.unread for one in page.items if one.conversation == conversation)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_sender_is_told_what_was_delivered_and_read(shared: Server, transport: str) -> None:
    alice_name, bob_name = f"r-alice-{transport}", f"r-bob-{transport}"
    async with (
        await client(shared, alice_name, "phone", transport) as alice,
        await client(shared, bob_name, "phone", transport) as bob,
        await client(shared, bob_name, "tablet") as tablet,
    ):
        for number in range(3):
            sent = await alice.send(bob_name, text=str(number))
        for _ in range(3):
            update = await asyncio.wait_for(anext(bob), 15)
        assert isinstance(update, Message)
        assert await unread(bob, sent.conversation) == 3
        await bob.ack(update)
        told = await receipt_until(alice, lambda one: one.delivered_seq == 3)
        assert (told.conversation, told.user, told.read_seq) == (sent.conversation, bob_name, 0)
        counts = await alice.receipt_counts(sent.conversation, 3)
        assert (counts.delivered, counts.read, counts.members) == (1, 0, 1)
        await bob.read(sent.conversation, 2)
        told = await receipt_until(alice, lambda one: one.read_seq == 2)
        assert told.delivered_seq == 3
        own = await receipt_until(tablet, lambda one: one.read_seq == 2)
        assert own.user == bob_name
        assert await unread(bob, sent.conversation) == await unread(tablet, sent.conversation) == 1
        await bob.read(update)
        assert await unread(tablet, sent.conversation) == 0
        assert await unread(alice, sent.conversation) == 0
        await bob.send(alice_name, text="an answer")
        assert await unread(alice, sent.conversation) == 1
        assert await unread(bob, sent.conversation) == 0


async def test_cursors_over_http_are_receipts_on_a_stream_of_events(shared: Server) -> None:
    alice, bob = await shared.token("rh-alice"), await shared.token("rh-bob")
    async with (
        await EventStream.open(shared, token=alice) as stream,
        await RawHttp.open(shared) as connection,
    ):

        async def ask(token: str, verb: str, body: object) -> dict[str, Any]:
            connection.write(post(verb, body, token))
            answer = await connection.answer()
            assert answer.status == 200, answer
            return dict(answer.content)

        sent = await ask(alice, "send", {"to": {"user": "rh-bob"}, "text": "hi"})
        cursor = {"conversation": sent["conversation"], "seq": 1}
        assert await ask(bob, "ack?device=web", cursor) == {}
        assert await ask(bob, "read", cursor) == {}

        def read() -> bool:
            return any(one.get("readSeq") == 1 for one in stream.named("receipt"))

        await until(read, "a receipt on the stream")
        counts = await ask(alice, "receipts", cursor)
        assert counts == {**cursor, "delivered": 1, "read": 1, "members": 1}


async def test_receipts_reach_another_worker_and_only_who_may_ask_is_told(shared: Server) -> None:
    async with (
        await PlainClient.connect(shared, "rw-alice", worker=0) as alice,
        await PlainClient.connect(shared, "rw-bob", worker=1, device="d") as bob,
        await PlainClient.connect(shared, "rw-eve") as eve,
    ):
        for peer in ("rw-bob", "rw-carol", "rw-dan", "rw-emil"):
            # Conversations of several partitions, so that both workers own some.
            await alice.send({"user": peer}, "hi", f"k-{peer}")
        reply = await alice.request("group", {"create": {"key": "g", "members": ["rw-bob"]}})
        group = reply["group"]["conversation"]
        await alice.send({"group": group}, "hi", "k-group")
        listed = (await bob.request("conversations", {}))["conversations"]["items"]
        assert len(listed) == 2
        for one in listed:
            cursor = {"conversation": one["conversation"], "seq": one["seq"]}
            await bob.request("ack", cursor)
            await bob.request("read", cursor)

        def told() -> bool:
            receipts = [push["receipt"] for push in alice.pushes if "receipt" in push]
            read = {one["conversation"] for one in receipts if one.get("readSeq")}
            return read == {one["conversation"] for one in listed}

        await until(told, "both receipts")
        with pytest.raises(RefusedError) as refused:
            await eve.request("receipts", {"conversation": group, "seq": 1})
        assert refused.value.name == "not_a_member"
        assert not any("receipt" in push for push in eve.pushes)


async def counter(server: Server, name: str) -> float:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"http://127.0.0.1:{server.ready.admin}/metrics")
    families = text_string_to_metric_families(answer.text)
    return sum(s.value for f in families if f.name == name for s in f.samples)


async def commands_above(server: Server, before: float) -> None:
    """Wait until something more was given to the log."""
    async with asyncio.timeout(15):
        while True:
            if await counter(server, "imfast_commands") > before:
                return
            await asyncio.sleep(0.02)


async def test_large_group_costs_few_writes_and_asks_for_its_counts(directory: Path) -> None:
    members = [f"m-{number:03}" for number in range(999)]
    async with Server(directory, "--cursor-log-s", "1") as server:
        settings = load({"data_dir": str(server.data)}).settings
        tokens = [sign_token(settings, member, ttl_s=600) for member in members]
        async with (
            await client(server, "author", "phone") as author,
            await RawHttp.open(server) as connection,
        ):
            made = await author.create_group(members=members)
            sent = await author.send(Group(made.conversation), text="to a thousand")
            cursor = {"conversation": made.conversation, "seq": sent.seq}
            before = await counter(server, "imfast_commands")
            asked = asyncio.get_running_loop().time()
            for token in tokens:
                for verb in ("ack?device=phone", "read"):
                    connection.write(post(verb, cursor, token))
                    answer = await connection.answer()
                    assert answer.status == 200, answer
            counts = await author.receipt_counts(made.conversation, sent.seq)
            assert (counts.delivered, counts.read, counts.members) == (999, 999, 999)
            assert not len(author.receipts), "above the limit nobody is told"
            began = asyncio.get_running_loop().time()
            asking_s = began - asked
            await commands_above(server, before)
            seconds = asyncio.get_running_loop().time() - began
            written = await counter(server, "imfast_commands") - before
            assert written <= 2 + asking_s + seconds, f"{written} commands for 1,998 cursors"
        assert await server.stop() == 0
        await server.start()
        async with await client(server, "author", "phone") as author:
            counts = await author.receipt_counts(made.conversation, sent.seq)
            assert (counts.delivered, counts.read) == (999, 999), "a stop loses no cursor"


async def test_kill_shows_messages_as_unread_again_and_no_more_than_that(directory: Path) -> None:
    async with Server(directory, "--cursor-log-s", "0.25") as server:
        async with (
            await client(server, "alice", "phone") as alice,
            await client(server, "bob", "phone") as bob,
        ):
            for number in range(10):
                sent = await alice.send("bob", text=str(number))
            commands = await counter(server, "imfast_commands")
            await bob.read(sent.conversation, 4)
            await commands_above(server, commands)
            await bob.read(sent.conversation, 9)
            await server.kill_all()
        await server.start()
        async with await client(server, "bob", "phone") as bob:
            [line] = (await bob.conversations()).items
            assert line.read_seq in (4, 9)
            assert line.unread == 10 - line.read_seq
