"""The promises that everything else builds on, seen through the public protocol.

Two workers, each owning partitions; clients from the public ``websockets`` package on both of
them; JSON; SIGKILL at seeded moments.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.deadline import until
from tests.support.ledger import Attempt, Ledger, check_live_view
from tests.support.plain_client import Frame, PlainClient, RefusedError, body_of
from tests.support.seeds import seeded_random
from tests.support.server import Server
from tests.support.traffic import (
    USERS,
    Traffic,
    connect_everybody,
    histories_of,
    owned_by_the_other,
)

# Sends without an answer at the moment of a kill, at least.
IN_FLIGHT = 100


async def test_both_sides_see_the_same_ids_and_seqs(directory: Path) -> None:
    fate = seeded_random("same ids and seqs")
    async with Server(directory) as server, AsyncExitStack() as stack:
        assert all(worker.partitions for worker in server.ready.workers)
        clients = await connect_everybody(server, stack)
        groups: dict[str, tuple[str, ...]] = {}
        for number in range(4):
            members = tuple(fate.sample(USERS, 4))
            creator, *others = members
            groups[await clients[creator].create_group(f"group-{number}", *others)] = members

        ledger = Ledger()
        for number in range(400):
            if fate.random() < 0.5:
                sender, receiver = fate.sample(USERS, 2)
                ledger.post(clients[sender], {"user": receiver}, f"direct {number}")
            else:
                group = fate.choice(list(groups))
                ledger.post(clients[fate.choice(groups[group])], {"group": group}, f"g {number}")
        await until(lambda: ledger.in_flight == 0, "all replies", timeout=20)
        assert ledger.acknowledged == 400, "every send is acknowledged"
        assert owned_by_the_other(server, ledger.attempts) >= 0.25

        members_of: dict[str, set[str]] = defaultdict(set)
        for one in ledger.attempts:
            assert one.sent is not None
            everybody = groups.get(one.to.get("group", "")) or (one.sender, one.to["user"])
            members_of[one.sent["conversation"]].update(everybody)
        histories = {
            conversation: await clients[min(members)].history(conversation, page=7)
            for conversation, members in members_of.items()
        }
        ledger.check(histories)
        for conversation, history in histories.items():
            members = tuple(members_of[conversation])
            for user in members:
                await clients[user].wait_rows(conversation, len(history))
                check_live_view(clients[user], conversation, history)
                assert len(clients[user].rows(conversation)) == len(history), "nothing twice"
            for user in set(USERS) - set(members):
                assert not clients[user].rows(conversation), f"{user} is no member"
                with pytest.raises(RefusedError) as refused:
                    await clients[user].history(conversation)
                assert refused.value.name == "not_a_member"


@pytest.mark.parametrize("worker", [0, 1])
async def test_returning_client_gets_exactly_what_it_missed(directory: Path, worker: int) -> None:
    fate = seeded_random("what it missed")
    async with Server(directory) as server, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(
            await PlainClient.connect(server, "alice", worker=0)
        )
        group = await alice.create_group("team", "bob", "carol")
        for number in range(20):
            await alice.send({"user": "bob"}, f"before-{number}", {"n": number})
            await alice.send({"group": group}, f"before-group-{number}", {"n": number})
        bob = await PlainClient.connect(server, "bob", worker=1)
        await asyncio.wait_for(bob.caught_up.wait(), 10)
        token = bob.sync
        await bob.drop()

        missed: dict[str, list[int]] = defaultdict(list)
        for number in range(30):
            to = {"user": "bob"} if fate.random() < 0.5 else {"group": group}
            sent = await alice.send(to, f"meanwhile-{number}", {"n": number})
            missed[sent["conversation"]].append(sent["seq"])
        await alice.send({"user": "carol"}, "not-for-bob", {"n": 0})

        again = await stack.enter_async_context(
            await PlainClient.connect(server, "bob", worker=worker, sync=token)
        )
        await asyncio.wait_for(again.caught_up.wait(), 10)
        assert seqs_by_conversation(again) == missed
        order = ["caughtUp" in push for push in again.pushes if "checkpoint" not in push]
        assert order == [False] * 30 + [True], "caughtUp comes after all that was missed"
        sent = await alice.send({"user": "bob"}, "live", {"n": 99})
        missed[sent["conversation"]].append(sent["seq"])
        await again.wait_rows(sent["conversation"], len(missed[sent["conversation"]]))
        assert seqs_by_conversation(again) == missed


def seqs_by_conversation(client: PlainClient) -> dict[str, list[int]]:
    seqs = defaultdict(list)
    for row in client.rows():
        seqs[body_of(row)["conversation"]].append(body_of(row)["seq"])
    return seqs


@pytest.mark.timeout(180)
@pytest.mark.parametrize("durability", ["fsync", "os"])
async def test_sigkill_loses_and_repeats_nothing(directory: Path, durability: str) -> None:
    """Rounds of traffic, a SIGKILL with sends in flight, and a check of everything."""
    fate = seeded_random(f"sigkill {durability}")
    victims = ["worker 0", "worker 1", "supervisor", "all"]
    fate.shuffle(victims)
    ledger = Ledger()
    async with Server(directory, durability=durability) as server:
        async with AsyncExitStack() as stack:
            clients = await connect_everybody(server, stack)
            # Everybody is in every group: whichever worker dies, some members stay.
            groups = [
                await clients[user].create_group(f"group of {user}", *(set(USERS) - {user}))
                for user in USERS[:4]
            ]
            sync = {user: client.sync for user, client in clients.items()}
        for victim in victims:
            async with AsyncExitStack() as stack:
                clients = await connect_everybody(server, stack, sync)
                before = len(ledger.attempts)
                traffic = Traffic(ledger, clients, groups, fate)
                await kill_under_fire(server, victim, traffic, ledger, clients, fate)
                again = await connect_everybody(server, stack, tokens_of(clients))
                recent = ledger.attempts[before:]
                assert owned_by_the_other(server, recent) >= 0.25
                histories = await histories_of(again.values())
                ledger.check(histories)
                await check_views(clients, again, histories)
                await check_retries(again, recent, histories, fate)
                ledger.check(await histories_of(again.values()))
                sync = tokens_of(again)


async def kill_under_fire(
    server: Server,
    victim: str,
    traffic: Traffic,
    ledger: Ledger,
    clients: dict[str, PlainClient],
    fate: random.Random,
) -> None:
    """Kill at a random moment with enough in flight, and restart what does not by itself."""
    moment = ledger.acknowledged + fate.randrange(50, 600)
    await clients[USERS[0]].wait(
        lambda: ledger.acknowledged >= moment and ledger.in_flight >= IN_FLIGHT,
        f"{moment} acknowledged sends",
        timeout=30,
    )
    # Nothing was awaited since: what is killed now has not answered these.
    print(f"kill {victim}: {ledger.acknowledged} acknowledged, {ledger.in_flight} in flight")
    assert ledger.in_flight >= IN_FLIGHT
    if victim.startswith("worker"):
        dead = server.worker(int(victim.split()[1]))
        server.kill_worker(server.index_of(dead.server))
        traffic.stop()
        await server.restarted()
        broken = {client.server for client in clients.values() if client.closed.is_set()}
        assert broken == {dead.server}, "the other worker's clients stay connected"
    else:
        await (server.kill_supervisor() if victim == "supervisor" else server.kill_all())
        traffic.stop()
        await server.start()
        for client in clients.values():
            await client.wait_closed()
    await traffic.finish()
    await until(lambda: ledger.in_flight == 0, "replies after the restart", timeout=20)


def tokens_of(clients: dict[str, PlainClient]) -> dict[str, str]:
    return {user: client.sync for user, client in clients.items()}


async def check_views(
    clients: dict[str, PlainClient],
    again: dict[str, PlainClient],
    histories: dict[str, list[Frame]],
) -> None:
    """Compare what each session was shown with what there is."""
    for user, old in clients.items():
        new = again[user]
        for conversation in await new.conversations():
            history = histories[conversation]
            check_live_view(old, conversation, history)
            check_live_view(new, conversation, history)
            seen = last_seq(old, conversation)
            if not old.closed.is_set():
                # It stayed connected: it gets all that the others got, the last message too.
                first = body_of(old.rows(conversation)[0])["seq"] if seen else len(history) + 1
                await old.wait_rows(conversation, len(history) + 1 - first, timeout=5)
            elif seen and seen < len(history):
                # It came back with its token: no hole, up to the head.
                assert body_of(new.rows(conversation)[0])["seq"] <= seen + 1
                assert last_seq(new, conversation) == len(history)


def last_seq(client: PlainClient, conversation: str) -> int:
    rows = client.rows(conversation)
    return int(body_of(rows[-1])["seq"]) if rows else 0


async def check_retries(
    clients: dict[str, PlainClient],
    attempts: list[Attempt],
    histories: dict[str, list[Frame]],
    fate: random.Random,
) -> None:
    """Send again with the same key: the first result, if there was one; else a conflict."""
    first_of = {
        row["message"]["json"]["key"]: row["message"]
        for history in histories.values()
        for row in history
        if "message" in row
    }
    unanswered = [one for one in attempts if one.sent is None]
    answered = [one for one in attempts if one.sent is not None]
    chosen = fate.sample(unanswered, min(len(unanswered), 40))
    for one in chosen + fate.sample(answered, min(len(answered), 10)):
        sender = clients[one.sender]
        again = await sender.send(one.to, one.key, one.content)
        first = first_of.get(one.key)
        assert again["duplicate"] is (first is not None), f"{one.key}: {again}"
        if first is not None:
            assert (again["seq"], again["messageId"]) == (first["seq"], first["messageId"])
        if one.sent is not None:
            assert again == {**one.sent, "duplicate": True}
        one.sent = {**again, "duplicate": False}
        with pytest.raises(RefusedError) as refused:
            await sender.send(one.to, one.key, {**one.content, "text": "another payload"})
        assert refused.value.name == "key_conflict"
