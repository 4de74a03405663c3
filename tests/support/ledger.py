"""What was sent and what came of it, checked against what the server has."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.support.plain_client import Frame, PlainClient, body_of

__all__ = ["Attempt", "Ledger", "check_live_view", "check_numbering"]


@dataclass(eq=False)
class Attempt:
    """One send. `sent` is the body of its reply, None without one."""

    sender: str
    # The worker that the sender was connected to.
    server: str
    to: Frame
    key: str
    content: Any
    reply: asyncio.Future[Frame] | None = None
    sent: Frame | None = None
    # The error's body, if that was the reply.
    error: Frame | None = None


@dataclass
class Ledger:
    """All sends of a test. Keys are unique and part of the content, so that rows tell them."""

    attempts: list[Attempt] = field(default_factory=list)
    # Sends that were neither answered nor broken off.
    in_flight: int = 0
    # Sends whose `sent` was received.
    acknowledged: int = 0

    def post(self, client: PlainClient, to: Frame, text: str) -> Attempt:
        """Send without waiting, and note what comes of it."""
        key = f"{client.user}-{len(self.attempts)}"
        content = {"key": key, "text": text}
        attempt = Attempt(client.user, client.server, to, key, content)
        attempt.reply = client.post("send", {"to": to, "key": key, "json": content})
        self.in_flight += 1
        attempt.reply.add_done_callback(lambda done: self._settle(attempt, done))
        self.attempts.append(attempt)
        return attempt

    def _settle(self, attempt: Attempt, reply: asyncio.Future[Frame]) -> None:
        """Note the reply of a send; a connection that broke leaves it without one."""
        self.in_flight -= 1
        if reply.cancelled() or reply.exception() is not None:
            return
        frame = reply.result()
        attempt.sent, attempt.error = frame.get("sent"), frame.get("error")
        self.acknowledged += attempt.sent is not None

    def check(self, history: dict[str, list[Frame]]) -> None:
        """Compare with whole histories, by conversation.

        Every acknowledged send is there once, with the numbers that its reply gave; every other
        one once or not at all; and every message there is one of ours.
        """
        found: dict[str, list[tuple[str, Frame]]] = defaultdict(list)
        for conversation, rows in history.items():
            check_numbering(conversation, rows)
            for row in rows:
                if "message" in row:
                    found[row["message"]["json"]["key"]].append((conversation, row["message"]))
        for one in self.attempts:
            assert one.error is None or one.error["retryable"], f"{one.key} got {one.error}"
            places = found.pop(one.key, [])
            assert len(places) <= 1, f"{one.key} is there {len(places)} times"
            if one.sent is not None:
                assert places, f"{one.key} was acknowledged as {one.sent} and is lost"
                [(conversation, message)] = places
                assert conversation == one.sent["conversation"]
                for name in ("seq", "messageId", "timestampMs"):
                    assert message[name] == one.sent[name], f"{one.key}: another {name}"
            for _, message in places:
                assert message["from"] == one.sender
                assert message["json"] == one.content
        assert not found, f"nobody sent {sorted(found)}"


def check_numbering(conversation: str, rows: list[Frame]) -> None:
    """Seqs are 1, 2, 3 … and message ids grow."""
    seqs = [body_of(row)["seq"] for row in rows]
    assert seqs == list(range(1, len(seqs) + 1)), f"{conversation} has a gap or a repeat: {seqs}"
    ids = [int(body_of(row)["messageId"]) for row in rows if "message" in row]
    assert ids == sorted(set(ids)), f"{conversation}: message ids do not grow"
    assert all(body_of(row)["conversation"] == conversation for row in rows)


def check_live_view(client: PlainClient, conversation: str, history: list[Frame]) -> None:
    """What one session was pushed is a stretch of the history: in order, once, without a gap."""
    rows = client.rows(conversation)
    if not rows:
        return
    first = body_of(rows[0])["seq"]
    expected = history[first - 1 : first - 1 + len(rows)]
    assert [without_order(row) for row in rows] == [without_order(row) for row in expected], (
        f"{client.user} on {client.server} was shown something else in {conversation}"
    )


def without_order(row: Frame) -> Any:
    """A row that compares by content."""
    return sorted(row), sorted(body_of(row).items(), key=lambda item: item[0])
