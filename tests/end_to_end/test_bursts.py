"""Several ephemeral messages in one write: each is served as if it had come alone."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.plain_client import Frame
from tests.support.raw_session import RawSession
from tests.support.server import Server

MESSAGES = 40
PEERS = [f"burst-{number}" for number in range(4)]
"""So many that either worker owns some of the conversations."""


def _to(number: int, me: str) -> str:
    """Runs of several lengths to one user, and now and then to oneself, which is refused."""
    return me if number % 10 == 9 else PEERS[number * number // 40 % len(PEERS)]


def _numbers(frames: list[Frame]) -> list[int]:
    return [frame["message"]["json"] for frame in frames if "message" in frame]


def _runs(numbers: list[int], sends: list[dict[str, Any]]) -> dict[str, list[int]]:
    """By receiver: only the messages of one conversation have an order."""
    runs: dict[str, list[int]] = {}
    for number in numbers:
        runs.setdefault(sends[number]["to"]["user"], []).append(number)
    return runs


@pytest.mark.parametrize("transport", ["tcp", "protobuf", "json"])
async def test_messages_of_one_write_reach_every_session_once_in_order(
    shared: Server, transport: str
) -> None:
    me = f"burster-{transport}"
    sends: list[dict[str, Any]] = [
        {"to": {"user": _to(number, me)}, "json": number, "ephemeral": True}
        for number in range(MESSAGES)
    ]
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        tokens = {user: await shared.token(user) for user in (me, *PEERS)}

        async def session(user: str, transport: str = "json") -> RawSession:
            return await enter(
                await RawSession.connect(shared, transport, user, token=tokens[user])
            )

        sender = await session(me, transport)
        others = [await session(me) for _ in range(3)]
        peers = {peer: [await session(peer) for _ in range(3)] for peer in PEERS}
        frames = [{"id": 100 + number, "send": send} for number, send in enumerate(sends)]
        sender.write_bytes(
            b"".join(sender.head(len(one)) + one for one in map(sender.encode, frames))
        )
        told: list[Frame] = []
        while len([frame for frame in told if "id" in frame]) < MESSAGES:
            # What goes to the other worker is answered later than what stays here.
            told += await sender.next_frames()

        answers = {frame["id"]: frame for frame in told if "id" in frame}
        for number, send in enumerate(sends):
            answer = answers[100 + number]
            if send["to"]["user"] == me:
                assert answer["error"]["name"], answer
            else:
                sent = answer["sent"]
                assert not int(sent.get("seq", 0)), answer
                assert not int(sent.get("messageId", 0)), answer
        assert not _numbers(told), "the sending session gets no copies"

        async def seen(session: RawSession, wanted: list[int]) -> None:
            got: list[int] = []
            asked = 1000
            while len(got) < len(wanted):
                asked += 1
                session.write(session.encode({"id": asked, "ping": {}}))
                got += _numbers(await session.until_answer(asked))
            assert (Counter(got), _runs(got, sends)) == (Counter(wanted), _runs(wanted, sends))

        allowed = [number for number, send in enumerate(sends) if send["to"]["user"] != me]
        for other in others:
            await seen(other, allowed)
        for peer, sessions in peers.items():
            wanted = [number for number in allowed if sends[number]["to"]["user"] == peer]
            for session in sessions:
                await seen(session, wanted)
