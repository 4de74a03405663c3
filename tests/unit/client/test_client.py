"""The public client against the model server: every verb, over WebSocket and TCP."""

from __future__ import annotations

import asyncio

import pytest

from imfast.client import (
    Conversation,
    Event,
    Group,
    Message,
    State,
    Sync,
    connect,
)
from tests.unit.client.conftest import QUICK, Connect
from tests.unit.client.model_server import ModelServer

CONVERSATION = "d.alice.bob"


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
async def test_message_reaches_both_sides_with_the_same_numbers(
    server: ModelServer, scheme: str
) -> None:
    url = server.url(scheme)
    async with (
        connect(url, token="alice", options=QUICK) as alice,
        connect(url, token="bob", options=QUICK) as bob,
    ):
        sent = await alice.send("bob", text="hi", headers={"lang": "en"})
        for side in (alice, bob):
            message = await anext(side)
            assert isinstance(message, Message)
            assert (message.conversation, message.seq, message.message_id) == (
                sent.conversation,
                sent.seq,
                sent.message_id,
            )
            assert (message.sender, message.text, message.headers) == (
                "alice",
                "hi",
                {"lang": "en"},
            )


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("text", "é"), ("text", ""), ("json", {"a": [1, None]}), ("json", None), ("bytes", b"\0\xff")],
)
async def test_body_arrives_as_it_was_sent(
    server: ModelServer, scheme: str, name: str, value: object
) -> None:
    async with connect(server.url(scheme), token="alice", options=QUICK) as alice:
        await alice.send("bob", **{name: value})  # type: ignore[arg-type]
        assert getattr(await anext(alice), name) == value


async def test_target_is_a_user_a_group_or_a_conversation(
    server: ModelServer, client: Connect
) -> None:
    async with client() as alice:
        created = await alice.create_group(title="team", members=["bob"], key="team-1")
        assert (await alice.send(Group(created.conversation), text="g")).seq == 2
        assert (await alice.send(Conversation(CONVERSATION), text="c")).seq == 1
        assert (await alice.send("bob", text="u")).seq == 2


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
async def test_group_changes_are_events_in_order(server: ModelServer, scheme: str) -> None:
    async with connect(server.url(scheme), token="alice", options=QUICK) as alice:
        group = (await alice.create_group(members=["bob"], open=True)).conversation
        assert (await alice.add(group, ["carol", "dan"])).seq == 2
        assert (await alice.remove(Group(group), ["dan"])).seq == 3
        members = await alice.members(group)
        assert [member.user for member in members.members] == ["alice", "bob", "carol"]
        async with connect(server.url(scheme), token="eve", options=QUICK) as eve:
            assert (await eve.join(group)).seq == 4
            assert (await eve.leave(group)).seq == 5
        events = [await anext(alice) for _ in range(5)]
        assert [update.seq for update in events if isinstance(update, Event)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
async def test_history_pages_both_ways(server: ModelServer, scheme: str) -> None:
    async with connect(server.url(scheme), token="alice", options=QUICK) as alice:
        for number in range(5):
            await alice.send("bob", text=str(number))
        latest = await alice.history(CONVERSATION, limit=2)
        assert ([item.seq for item in latest.items if isinstance(item, Message)], latest.more) == (
            [4, 5],
            True,
        )
        earlier = await alice.history(CONVERSATION, before=3)
        assert (len(earlier.items), earlier.more) == (2, False)
        later = await alice.history(Conversation(CONVERSATION), after=3)
        assert (len(later.items), later.more) == (2, False)
        page = await alice.conversations()
        assert [(one.conversation, one.seq) for one in page.items] == [(CONVERSATION, 5)]
        assert page.items[0].last == latest.items[-1]


async def test_ephemeral_message_has_no_number_and_does_not_come_back(client: Connect) -> None:
    async with client("alice") as alice, client("bob") as bob:
        sent = await alice.send("bob", text="…", ephemeral=True)
        assert (sent.seq, sent.message_id) == (0, 0)
        message = await anext(bob)
        assert isinstance(message, Message)
        assert (message.seq, message.ephemeral) == (0, True)
        await alice.send("bob", text="real")
        update = await anext(alice)
        assert isinstance(update, Message)
        assert update.text == "real"


async def test_cursors_refresh_and_ping(server: ModelServer, client: Connect) -> None:
    async with client() as alice:
        await alice.send("bob", text="1")
        message = await anext(alice)
        await alice.ack(message)
        await alice.read(CONVERSATION, 1)
        assert await alice.refresh("alice-new") == 77
        assert await alice.ping() >= 0
        received = server.sessions[0].received
    assert [frame["ack"] for frame in received if "ack" in frame] == [
        {"conversation": CONVERSATION, "seq": 1}
    ]
    assert [frame["read"]["seq"] for frame in received if "read" in frame] == [1]


async def test_greeting_and_states_are_seen(server: ModelServer, client: Connect) -> None:
    im = client()
    states: list[State] = []
    remove = im.on_state(states.append)
    with pytest.raises(RuntimeError):
        _ = im.connected
    async with im:
        assert im.connected.user == "alice"
        await im.send("bob", text="1")
        assert im.state is State.LIVE
        remove()
        remove()
    assert states == [State.CATCHING_UP, State.LIVE]
    assert im.state is State.CLOSED


@pytest.mark.parametrize(
    "body", [{}, {"text": "a", "json": 1}, {"text": "a", "bytes": b""}], ids=["none", "two", "zero"]
)
async def test_message_without_exactly_one_body_is_refused(
    client: Connect, body: dict[str, object]
) -> None:
    async with client() as alice:
        with pytest.raises(ValueError, match="exactly one"):
            await alice.send("bob", **body)  # type: ignore[arg-type]


async def test_wrong_arguments_are_refused_before_anything_is_sent(
    server: ModelServer, client: Connect
) -> None:
    async with client() as alice:
        with pytest.raises(ValueError, match="both"):
            await alice.history(CONVERSATION, before=1, after=2)
        with pytest.raises(ValueError, match="seq is missing"):
            await alice.ack(CONVERSATION)
        with pytest.raises(ValueError, match="no seq"):
            await alice.ack(Message(CONVERSATION, 0, 0, "bob", 5, ephemeral=True))
        with pytest.raises(TypeError):
            await alice.send("bob", json=object())
        with pytest.raises(ValueError, match="65536"):
            await alice.send("bob", text="x" * 70_000)
        assert [next(iter(frame)) for frame in server.sessions[0].received[1:]] == []


async def test_iteration_ends_after_close_with_what_had_arrived(client: Connect) -> None:
    async with client() as alice:
        await alice.send("bob", text="1")
        await alice.send("bob", text="2")
    assert [update.seq async for update in alice if isinstance(update, Message)] == [1, 2]


async def test_application_that_echoes_in_its_loop_is_not_locked_out(client: Connect) -> None:
    """The answer to a send is behind pushes that the same task would have to take first."""
    options = type(QUICK)(buffer=2, backoff_base=0.01, backoff_cap=0.05)
    async with client("alice") as alice, client("bob", options=options) as bob:
        sends = asyncio.gather(*(alice.send("bob", text=str(n)) for n in range(50)))
        seen = 0
        async for update in bob:
            if isinstance(update, Message) and update.sender == "alice":
                await bob.send("alice", text=f"echo {update.text}", timeout=5)
                seen += 1
                if seen == 50:
                    break
        await sends


async def test_sync_goes_on_where_the_last_run_ended(server: ModelServer, client: Connect) -> None:
    async with client("bob") as bob, client("alice") as alice:
        await alice.send("bob", text="1")
        await anext(bob)
        await server.push_all({"checkpoint": {"token": "1"}})
        await bob.ping()
        kept = bob.sync
    assert kept == Sync("1", {CONVERSATION: 1})
    server.foreign_tokens = True
    async with client("alice") as alice:
        await alice.send("bob", text="2")
    async with client("bob", sync=kept) as bob:
        update = await anext(bob)
        assert isinstance(update, Message)
        assert update.text == "2", "the repeat of 1 is dropped"
