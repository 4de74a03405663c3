"""Owners that hang, retries that overtake their first attempt, orders that must hold."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.ledger import check_live_view, check_numbering
from tests.support.plain_client import Frame, PlainClient, RefusedError, body_of
from tests.support.server import Server

# From the stop of a worker to its conversations being served again (ARCHITECTURE, section 2).
TAKEOVER_SECONDS = 5.0


async def conversation_owned_by(
    server: Server, client: PlainClient, worker: int, *members: str, name: str = ""
) -> str:
    """Make groups until one is owned by the worker of that index."""
    wanted = server.worker(worker).server
    for number in range(64):
        group = await client.create_group(f"{name}-{worker}-{number}", *members)
        sent = await client.send({"group": group}, "probe", "probe")
        if server.ready.owner(sent["position"]) == wanted:
            return group
    raise AssertionError(f"none of 64 groups is owned by {wanted}")


async def test_paused_owner_is_replaced_and_its_clients_are_served_again(directory: Path) -> None:
    async with Server(directory) as server, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(
            await PlainClient.connect(server, "alice", worker=0)
        )
        bob = await stack.enter_async_context(await PlainClient.connect(server, "bob", worker=0))
        theirs = await conversation_owned_by(server, alice, 1, "bob")
        ours = await conversation_owned_by(server, alice, 0, "bob")
        paused = server.worker(1)
        loop = asyncio.get_running_loop()
        server.pause(1)
        began = loop.time()
        hanging = asyncio.create_task(
            alice.send({"group": theirs}, "while paused", "x", timeout=20)
        )
        sent = await alice.send({"group": ours}, "elsewhere", "y")
        assert loop.time() - began < 1.0, "the other worker's conversations do not wait"
        again = await hanging
        took = loop.time() - began
        assert took <= TAKEOVER_SECONDS, f"served again after {took:.1f} s"
        ready = await server.restarted()
        assert ready.workers[1].pid != paused.pid
        assert ready.workers[1].epoch > paused.epoch
        for conversation, last in ((theirs, again), (ours, sent)):
            history = await alice.history(conversation)
            check_numbering(conversation, history)
            assert body_of(history[-1])["seq"] == last["seq"]
            await bob.wait_rows(conversation, len(history), timeout=5)
            check_live_view(bob, conversation, history)


async def test_retry_during_the_first_attempt_gets_its_result(directory: Path) -> None:
    """The first attempt hangs with its owner; the retry comes by another connection meanwhile."""
    async with Server(directory) as server, AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(
                await PlainClient.connect(server, "alice", worker=0, device=f"d{number}")
            )
            for number in range(2)
        ]
        group = await conversation_owned_by(server, first, 1)
        body = {"to": {"group": group}, "key": "the key", "json": "once"}
        server.pause(1)
        attempts = [first.post("send", body), second.post("send", body)]
        await second.request("ping", {})
        server.resume(1)
        replies = [(await asyncio.wait_for(reply, 15))["sent"] for reply in attempts]
        assert sorted(reply["duplicate"] for reply in replies) == [False, True]
        assert {(reply["seq"], reply["messageId"]) for reply in replies} == {
            (replies[0]["seq"], replies[0]["messageId"])
        }


async def test_same_key_sent_many_times_at_once_makes_one_message(shared: Server) -> None:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                await PlainClient.connect(
                    shared, "key-alice", worker=number % 2, device=f"d{number}"
                )
            )
            for number in range(4)
        ]
        for round_number in range(10):
            body = {"to": {"user": "key-bob"}, "key": f"round {round_number}", "json": round_number}
            replies = [client.post("send", body) for client in clients for _ in range(5)]
            sent = [(await asyncio.wait_for(reply, 15))["sent"] for reply in replies]
            assert {one["seq"] for one in sent} == {sent[0]["seq"]}
            assert sorted(one["duplicate"] for one in sent) == [False] + [True] * 19
        history = await clients[0].history(sent[0]["conversation"])
        assert [row["message"]["json"] for row in history if "message" in row] == list(range(10))


async def test_same_key_with_another_payload_is_a_conflict_and_changes_nothing(
    shared: Server,
) -> None:
    async with await PlainClient.connect(shared, "conflict-alice") as alice:
        sent = await alice.send({"user": "conflict-bob"}, "k", {"n": 1})
        with pytest.raises(RefusedError) as refused:
            await alice.send({"user": "conflict-bob"}, "k", {"n": 2})
        assert (refused.value.name, refused.value.retryable) == ("key_conflict", False)
        elsewhere = await alice.send({"user": "conflict-carol"}, "k", {"n": 2})
        assert not elsewhere["duplicate"], "a key is of one conversation"
        history = await alice.history(sent["conversation"])
        assert [row["message"]["json"] for row in history if "message" in row] == [{"n": 1}]


@pytest.mark.parametrize("owner", [0, 1])
async def test_removed_member_does_not_get_what_is_sent_in_the_same_breath(
    shared: Server, owner: int
) -> None:
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(
            await PlainClient.connect(shared, f"remove-alice-{owner}", worker=0)
        )
        bob_name = f"remove-bob-{owner}"
        bob = await stack.enter_async_context(await PlainClient.connect(shared, bob_name, worker=1))
        for number in range(10):
            group = await conversation_owned_by(
                shared, alice, owner, bob_name, name=f"round {number}"
            )
            removal = {"remove": {"conversation": group, "key": f"r{number}", "users": [bob_name]}}
            body = {"to": {"group": group}, "key": f"secret {number}", "json": "not for bob"}
            replies = alice.post_all(
                ("send", {**body, "key": f"open {number}", "json": "for bob"}),
                ("group", removal),
                ("send", body),
            )
            before, removed, after = [await asyncio.wait_for(reply, 15) for reply in replies]
            numbers = (before["sent"]["seq"], removed["group"]["seq"], after["sent"]["seq"])
            assert numbers == (numbers[0], numbers[0] + 1, numbers[0] + 2)
            # The removal itself is the last that he is told.
            await bob.wait_seq(group, numbers[1])
            with pytest.raises(RefusedError):
                await bob.send({"group": group}, f"from outside {number}", "?")
        assert not any("not for bob" in str(push) for push in bob.pushes)


async def test_member_who_joins_during_a_stream_gets_all_from_his_join_on(shared: Server) -> None:
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(
            await PlainClient.connect(shared, "join-alice", worker=0)
        )
        bob = await stack.enter_async_context(
            await PlainClient.connect(shared, "join-bob", worker=1)
        )
        for owner in (0, 1):
            group = await conversation_owned_by(shared, alice, owner)
            for number in range(5):
                joined, left = await add_within_a_stream(alice, group, f"{owner}-{number}")
                expected = list(range(joined, left + 1))
                await bob.wait_seq(group, left)
                seen = [body_of(row)["seq"] for row in bob.rows(group)]
                assert [seq for seq in seen if seq >= joined] == expected


async def add_within_a_stream(alice: PlainClient, group: str, name: str) -> tuple[int, int]:
    """Send, add, send, remove, send, all pipelined; return the seqs of the two changes."""

    def sends(part: str) -> list[tuple[str, Frame]]:
        return [
            ("send", {"to": {"group": group}, "key": f"{name} {part} {number}", "json": number})
            for number in range(10)
        ]

    def change(action: str) -> tuple[str, Frame]:
        body = {"conversation": group, "key": f"{name} {action}", "users": ["join-bob"]}
        return ("group", {action: body})

    requests = [*sends("a"), change("add"), *sends("b"), change("remove"), *sends("c")]
    replies = [await asyncio.wait_for(reply, 15) for reply in alice.post_all(*requests)]
    joined, left = [reply["group"]["seq"] for reply in replies if "group" in reply]
    return joined, left
