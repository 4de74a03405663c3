"""Messages that are recalled, edited, reacted to or expire; what managers of groups may do."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from imfast.client import (
    Event,
    Group,
    IMFast,
    Message,
    NotAllowedError,
    RequestError,
    Sync,
    Update,
    connect,
)
from tests.end_to_end.test_transports import TRANSPORTS
from tests.support.raw_http import RawHttp, post
from tests.support.server import Server


async def client(
    server: Server, user: str, transport: str = "json", sync: Sync | None = None
) -> IMFast:
    scheme, options = TRANSPORTS[transport]
    token = await server.token(user)
    return connect(server.url(scheme), token=token, device="d", sync=sync, options=options)


async def next_of(im: IMFast) -> Update:
    return await asyncio.wait_for(anext(im), 15)


async def rows(im: IMFast, conversation: str) -> list[Update]:
    return list((await im.history(conversation, after=0)).items)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_message_is_edited_reacted_to_and_recalled(shared: Server, transport: str) -> None:
    alice_name, bob_name = f"c-alice-{transport}", f"c-bob-{transport}"
    async with (
        await client(shared, alice_name, transport) as alice,
        await client(shared, bob_name, transport) as bob,
    ):
        sent = await alice.send(bob_name, json={"text": "frist"}, ttl=3600)
        message = await next_of(bob)
        assert isinstance(message, Message)
        assert message.has_body
        edit = await alice.edit(sent.conversation, 1, json={"text": "first"}, key="e")
        assert (edit.seq, edit.duplicate) == (2, False)
        again = await alice.edit(sent.conversation, 1, json={"text": "first"}, key="e")
        assert (again.seq, again.duplicate) == (2, True)
        event = await next_of(bob)
        assert isinstance(event, Event)
        assert (event.type, event.ref_seq, event.by) == ("edited", 1, alice_name)
        assert event.json == {"text": "first"}
        assert event.expires_ms == message.timestamp_ms + 3_600_000
        await bob.react(message, reaction="👍")
        event = await next_of(alice)
        while not (isinstance(event, Event) and event.type == "reacted"):
            event = await next_of(alice)
        assert (event.reaction, event.withdrawn, event.ref_seq) == ("👍", False, 1)
        await bob.react(message, reaction="👍", remove=True)
        first, *_, last = await rows(bob, sent.conversation)
        assert isinstance(first, Message)
        assert isinstance(last, Event)
        assert (first.json, first.edited_seq, first.ttl_ms) == ({"text": "first"}, 2, 3_600_000)
        assert (last.type, last.withdrawn) == ("reacted", True)
        with pytest.raises(NotAllowedError):
            await bob.recall(message)
        with pytest.raises(NotAllowedError):
            await bob.edit(message, text="mine now")
        await alice.recall(sent.conversation, 1)
        first, second, *_ = await rows(bob, sent.conversation)
        assert isinstance(first, Message)
        assert not first.has_body
        assert first.seq == 1
        assert isinstance(second, Event)
        assert second.json is None
        assert second.type == "edited"
        with pytest.raises(RequestError):
            await alice.edit(sent.conversation, 1, text="too late")


async def test_changes_over_http_have_the_same_effect(shared: Server) -> None:
    token = await shared.token("ch-alice")
    async with await RawHttp.open(shared) as connection:

        async def ask(verb: str, body: object, status: int = 200) -> dict[str, Any]:
            connection.write(post(verb, body, token))
            answer = await connection.answer()
            assert answer.status == status, answer
            return dict(answer.content)

        sent = await ask("send", {"to": {"user": "ch-bob"}, "text": "a"})
        where = {"conversation": sent["conversation"], "seq": 1}
        assert (await ask("edit", {**where, "text": "b"}))["seq"] == 2
        assert (await ask("react", {**where, "reaction": "+1"}))["seq"] == 3
        page = await ask("history", {"conversation": sent["conversation"], "after": 0})
        assert page["items"][0]["message"]["text"] == "b"
        assert page["items"][0]["message"]["editedSeq"] == 2
        assert (await ask("recall", where))["seq"] == 4
        page = await ask("history", {"conversation": sent["conversation"], "after": 0})
        assert not {"text", "json", "base64"} & page["items"][0]["message"].keys()
        refused = await ask("recall", where, 400)
        assert refused["reason"] == "invalid_argument"


async def test_nobody_sees_an_expired_message_live_missed_or_after_a_kill(directory: Path) -> None:
    async with Server(directory) as server:
        async with await client(server, "bob") as bob:
            await bob.send("carol", text="so that there is a token")
            await next_of(bob)
            sync = bob.sync
        async with await client(server, "alice") as alice:
            sent = await alice.send("bob", text="secret", ttl=1.0)
            await alice.send("bob", text="plain")
            end_ms = sent.timestamp_ms + 1_000
            shown = True
            async with asyncio.timeout(30):
                while shown:
                    # The clock of the server is that of this test.
                    asked_ms = time.time() * 1000
                    first, *_ = await rows(alice, sent.conversation)
                    assert isinstance(first, Message)
                    assert (first.seq, first.timestamp_ms) == (1, sent.timestamp_ms)
                    shown = first.has_body
                    assert not (shown and asked_ms >= end_ms)
                    await asyncio.sleep(0.02)
            assert time.time() * 1000 >= end_ms
        for _ in range(2):
            async with await client(server, "bob", sync=sync) as bob:
                missed = await next_of(bob)
                assert isinstance(missed, Message)
                assert (missed.seq, missed.has_body) == (1, False)
                plain = await next_of(bob)
                assert isinstance(plain, Message)
                assert plain.text == "plain"
            await server.kill_all()
            await server.start()


async def test_roles_muting_and_settings(shared: Server) -> None:
    async with (
        await client(shared, "g-alice") as alice,
        await client(shared, "g-bob", "protobuf") as bob,
        await client(shared, "g-carol", "tcp") as carol,
        await client(shared, "g-dan") as dan,
    ):
        group = (await alice.create_group(members=["g-bob", "g-carol"])).conversation
        with pytest.raises(NotAllowedError):
            await bob.settings(group, title="mine")
        await alice.role(group, ["g-bob"], "admin")
        await bob.settings(group, title="news", open=True)
        await dan.join(group)
        await bob.mute(group, ["g-carol"])
        with pytest.raises(NotAllowedError):
            await carol.send(Group(group), text="no")
        with pytest.raises(NotAllowedError):
            await bob.mute(group, ["g-alice"])
        await bob.unmute(group, ["g-carol"])
        assert (await carol.send(Group(group), text="yes")).seq == 7
        await alice.role(group, ["g-carol"], "owner")
        members = (await dan.members(group)).members
        assert {one.user: one.role for one in members} == {
            "g-alice": "admin",
            "g-bob": "admin",
            "g-carol": "owner",
            "g-dan": "member",
        }
        seen = []
        while len(seen) < 8:
            update = await next_of(alice)
            seen.append(update.type if isinstance(update, Event) else "message")
        kinds = ["created", "role", "settings", "joined", "muted", "unmuted", "message", "role"]
        assert seen == kinds
        assert (await dan.conversations()).items[0].title == "news"
