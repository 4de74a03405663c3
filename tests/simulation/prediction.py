"""What must be true of the server, from what clients asked and were told. Knows no server code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Outcome", "Prediction", "Row", "Sent"]

Frame = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The final answer to a request: a body, or the name of an error that no retry cures."""

    body: Frame | None = None
    error: str = ""


@dataclass(frozen=True)
class Row:
    """What stands under a number of a conversation, the same for everybody and for ever."""

    kind: str
    message_id: str
    author: str
    content: str
    """The text of a message; the type and the users of an event."""

    @staticmethod
    def of(kind: str, frame: Frame) -> Row:
        if kind == "message":
            return Row(kind, frame["messageId"], frame["from"], frame.get("text", ""))
        users = [frame["user"]] if "user" in frame else frame.get("users", [])
        return Row(kind, frame["messageId"], frame["by"], " ".join([frame["type"], *users]))


@dataclass(eq=False)
class Sent:
    """One message that a client wants sent, under one key."""

    user: str
    conversation: str
    to: Frame
    key: str
    text: str
    outcome: Outcome | None = None
    """Of the first attempt that had one."""
    copies: int = 0
    """How often it may have reached the server."""
    joined_before: bool = False
    """The sender was told of being a member before asking."""


@dataclass
class Prediction:
    """Grows with the run; every contradiction is an AssertionError at once."""

    rows: dict[tuple[str, int], Row] = field(default_factory=dict)
    """Whatever anybody was ever shown."""
    sends: dict[str, Sent] = field(default_factory=dict)
    """By key; keys are unique."""
    texts: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Where each text was seen."""
    cursors: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """By user, conversation and verb: the highest seq that was said to be delivered or read."""
    summaries: dict[str, list[Frame]] = field(default_factory=dict)
    """By user: the list of conversations at the end."""
    acknowledged: int = 0
    keys_expire: bool = False
    """Keys may be so old that the server does not know them any more, and says so."""

    def seen(self, who: str, kind: str, frame: Frame) -> None:
        """Somebody was shown a row."""
        place = (frame["conversation"], frame["seq"])
        row = Row.of(kind, frame)
        known = self.rows.setdefault(place, row)
        assert known == row, f"{who} was shown {row} as {place}, which was {known} before"
        if kind == "message":
            other = self.texts.setdefault(row.content, place)
            assert other == place, f"{who} was shown {row.content!r} at {place} and at {other}"

    def says(self, user: str, verb: str, conversation: str, seq: int) -> None:
        """A device of `user` is about to say how far it has come."""
        place = (user, conversation, verb)
        self.cursors[place] = max(seq, self.cursors.get(place, 0))

    def told_of(self, who: str, receipt: Frame) -> None:
        """A device was told how far somebody has come: no further than he said."""
        user, conversation = receipt["user"], receipt["conversation"]
        read = self.cursors.get((user, conversation, "read"), 0)
        delivered = max(read, self.cursors.get((user, conversation, "ack"), 0))
        assert receipt.get("readSeq", 0) <= read, f"{who} got {receipt}; he read {read}"
        assert receipt.get("deliveredSeq", 0) <= delivered, f"{who} got {receipt}, not {delivered}"

    def answered(self, sent: Sent, outcome: Outcome) -> None:
        """An attempt under the key of `sent`, with its payload, was answered."""
        first = sent.outcome
        if outcome.body is None:
            # Of two copies, the one that was refused before the other was not may be answered last.
            assert first is None or first.body is None or sent.copies > 1, (
                f"{sent.key} got {outcome.error} after {first}"
            )
            sent.outcome = first or outcome
            return
        body = {name: value for name, value in outcome.body.items() if name != "duplicate"}
        if first is not None and first.body is not None:
            assert body == first.body, f"{sent.key} got {body} after {first.body}"
            return
        self.acknowledged += 1
        sent.outcome = Outcome(body=body)
        assert body["conversation"] == sent.conversation, f"{sent.key} went elsewhere: {body}"
        row = Row("message", body["messageId"], sent.user, sent.text)
        place = (body["conversation"], body["seq"])
        known = self.rows.setdefault(place, row)
        assert known == row, f"{sent.key} was acknowledged as {place}, where {known} stands"
        other = self.texts.setdefault(sent.text, place)
        assert other == place, f"{sent.key} was acknowledged as {place} and seen at {other}"

    def last_sent(self, user: str, conversation: str) -> int:
        """The highest seq that a user was told of as sent; 0 without one."""
        bodies = [
            sent.outcome.body
            for sent in self.sends.values()
            if (sent.user, sent.conversation) == (user, conversation) and sent.outcome is not None
        ]
        return max((body["seq"] for body in bodies if body is not None), default=0)

    def conflicted(self, sent: Sent, outcome: Outcome) -> None:
        """Another payload under the key of an acknowledged send was answered."""
        # Who left meanwhile is told so, where the key is not known any more.
        forgotten = self.keys_expire and outcome.error in ("key_expired", "not_a_member")
        assert forgotten or outcome.error == "key_conflict", (
            f"another payload under {sent.key} got {outcome}"
        )
