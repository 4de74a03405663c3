"""Every transport is equal: the same ids and seqs over each, and our client on all of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from imfast.client import (
    Event,
    Group,
    IMFast,
    Message,
    NotAllowedError,
    Options,
    Sync,
    Update,
    connect,
)
from tests.support.plain_client import Frame, PlainClient, body_of
from tests.support.seeds import seeded_random
from tests.support.server import Server

TRANSPORTS = {
    "json": ("ws", Options()),
    "protobuf": ("ws", Options(protobuf=True)),
    "tcp": ("tcp", Options()),
}


async def open_client(
    server: Server, user: str, transport: str, sync: Sync | None = None
) -> IMFast:
    scheme, options = TRANSPORTS[transport]
    token = await server.token(user)
    return connect(server.url(scheme), token=token, device="d", sync=sync, options=options)


def numbers_of(update: Update) -> tuple[str, int, int]:
    assert isinstance(update, Message | Event)
    return update.conversation, update.seq, update.message_id


def numbers_of_row(row: Frame) -> tuple[str, int, int]:
    body = body_of(row)
    return body["conversation"], body["seq"], int(body["messageId"])


async def take(im: IMFast, count: int) -> list[Update]:
    updates: list[Update] = []
    try:
        async with asyncio.timeout(15):
            while len(updates) < count:
                updates.append(await anext(im))
    except TimeoutError:
        seen = [numbers_of(update)[1] for update in updates]
        raise AssertionError(
            f"{im.connected.user} on {im.connected.server}, {im.state}: {len(seen)} of {count}"
            f" updates, seqs {seen[:3]} to {seen[-3:]}, {im.sync}"
        ) from None
    return updates


async def test_every_transport_shows_the_same_ids_and_seqs(shared: Server) -> None:
    fate = seeded_random("transports")
    users = {transport: f"user-of-{transport}" for transport in TRANSPORTS}
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(await PlainClient.connect(shared, "plain"))
        clients = {
            transport: await stack.enter_async_context(await open_client(shared, user, transport))
            for transport, user in users.items()
        }
        group = await plain.create_group("all transports", *users.values())
        sent = []
        for number in range(60):
            im = clients[fate.choice(list(clients))]
            match fate.randrange(3):
                case 0:
                    sent.append(await im.send(Group(group), json={"n": number, "é": [None, 1.5]}))
                case 1:
                    sent.append(await im.send(Group(group), text=f"ü {number}", headers={"a": "b"}))
                case _:
                    sent.append(await im.send(Group(group), bytes=bytes([number, 0, 255])))
        assert [one.seq for one in sent] == list(range(sent[0].seq, sent[0].seq + 60))
        await plain.wait_seq(group, sent[-1].seq)
        rows = plain.rows(group)
        views = {name: await take(im, len(rows)) for name, im in clients.items()}
        for view in views.values():
            assert view == views["json"], "the same values, whatever carried them"
            assert [numbers_of(update) for update in view] == [numbers_of_row(row) for row in rows]
        for im in clients.values():
            page = await im.history(group, limit=100)
            assert list(page.items) == views["json"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_verb_works(shared: Server, transport: str) -> None:
    async with (
        await open_client(shared, f"verbs-alice-{transport}", transport) as alice,
        await open_client(shared, f"verbs-bob-{transport}", transport) as bob,
    ):
        me, him = alice.connected.user, bob.connected.user
        created = await alice.create_group(title="team", members=[him], open=True)
        group = Group(created.conversation)
        assert (await alice.remove(group, [him])).seq == created.seq + 1
        assert (await bob.join(group)).seq == created.seq + 2
        assert (await bob.leave(group)).seq == created.seq + 3
        assert (await alice.add(group, [him])).seq == created.seq + 4
        members = await alice.members(group)
        assert sorted(member.user for member in members.members) == sorted([me, him])
        sent = await alice.send(group, text="hi")
        await bob.ack(group.id, sent.seq)
        await bob.read(group.id, sent.seq)
        page = await bob.conversations()
        [summary] = [one for one in page.items if one.conversation == group.id]
        assert (summary.kind, summary.title, summary.seq) == ("group", "team", sent.seq)
        assert (summary.read_seq, summary.acked_seq, summary.unread) == (sent.seq, sent.seq, 0)
        ephemeral = await alice.send(him, json="typing", ephemeral=True)
        assert (ephemeral.seq, ephemeral.message_id) == (0, 0)
        assert await alice.ping() < 10
        assert await alice.refresh() > 0
        with pytest.raises(NotAllowedError):
            await alice.history("g.AAAAAAAAAAAAAAAAAAAAAA")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_key_is_one_key_over_all_transports(shared: Server, transport: str) -> None:
    """A retry may come by another transport: the same message gives the same bytes."""
    user = f"keys-{transport}"
    async with await open_client(shared, user, transport) as im:
        first = await im.send("keys-bob", json={"n": 1, "t": "é"}, key="k", headers={"a": "b"})
    for other in TRANSPORTS:
        async with await open_client(shared, user, other) as im:
            again = await im.send("keys-bob", json={"n": 1, "t": "é"}, key="k", headers={"a": "b"})
            assert (again.seq, again.message_id, again.duplicate) == (
                first.seq,
                first.message_id,
                True,
            )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_our_client_loses_and_repeats_nothing_through_kills(
    directory: Path, transport: str
) -> None:
    """It sends and receives while workers and the supervisor are killed under it."""
    fate = seeded_random(f"client through kills {transport}")
    count = 400
    async with Server(directory) as server:
        scheme, _ = TRANSPORTS[transport]
        options = Options(
            protobuf=transport == "protobuf", backoff_cap=0.3, request_timeout=40.0, heartbeat=2.0
        )
        tokens = {user: await server.token(user) for user in ("alice", "bob")}
        ports = server.ready
        async with (
            connect(server.url(scheme), token=tokens["alice"], options=options) as alice,
            connect(server.url(scheme), token=tokens["bob"], options=options) as bob,
        ):

            async def talk() -> list[int]:
                seqs = []
                for start in range(0, count, 20):
                    batch = [alice.send("bob", json=start + n) for n in range(20)]
                    seqs += [sent.seq for sent in await asyncio.gather(*batch)]
                    await asyncio.sleep(0.02)
                return seqs

            talking = asyncio.create_task(talk())
            for victim in (0, 1):
                await asyncio.sleep(fate.uniform(0.05, 0.3))
                server.kill_worker(victim)
                await server.restarted()
            seqs = await asyncio.wait_for(talking, 60)
            assert server.ready.http == ports.http, "a restarted worker has the same ports"
            assert sorted(seqs) == list(range(1, count + 1))
            for im in (alice, bob):
                messages = [one for one in await take(im, count) if isinstance(one, Message)]
                assert [one.seq for one in messages] == list(range(1, count + 1))
                assert sorted(one.json for one in messages) == list(range(count))
