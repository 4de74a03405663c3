"""A client as a correct one behaves: it keeps a token, repeats what was not answered, and applies
what it is pushed."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.simulation.prediction import Outcome, Prediction, Sent

__all__ = ["Device", "Request", "Session"]

Frame = dict[str, Any]
RETRY_MS = 60
ANSWERS = {
    "send": "sent",
    "group": "group",
    "ack": "acked",
    "read": "acked",
    "history": "history",
    "conversations": "conversations",
}


@dataclass(eq=False)
class Request:
    """Something asked of the server, until it has an answer."""

    verb: str
    body: Frame
    done: Callable[[Outcome], None]
    """What is told the answer."""
    sent: Sent | None = None
    """The message that it is about."""


@dataclass(eq=False)
class Session:
    """What one connection was pushed: the last seq of each conversation, and the gaps."""

    server: str = ""
    last: dict[str, int] = field(default_factory=dict)
    gaps: list[tuple[str, int, int]] = field(default_factory=list)
    """Conversation and the seqs on both sides of numbers that were left out."""


class Device:
    """One installation of one user."""

    def __init__(
        self,
        number: int,
        user: str,
        transport: str,
        partitions: int,
        prediction: Prediction,
    ) -> None:
        self.number = number
        self.user = user
        self.transport = transport
        self.prediction = prediction
        self.token = first_token(partitions)
        self.older_token = self.token
        self.view: dict[str, dict[int, str]] = {}
        """By conversation and seq: the message id of what was applied."""
        self.sessions: list[Session] = []
        self.stream: int | None = None
        self.connected = False
        self.caught_up = False
        self.away_until_ns = 0
        self.capacity = 0
        self.tears_at_token = False
        """The connection breaks behind the next token, whatever follows it."""
        self.torn = False
        """It just did."""
        self.requests: dict[int, Request] = {}
        self._next_id = 1
        self.frames = 0

    # Requests

    def first_frame(self) -> Frame:
        """What a connection begins with."""
        self.sessions.append(Session())
        self.connected = self.caught_up = False
        connect = {"token": self.user, "device": f"dev{self.number}", "sync": self.token}
        return {"id": self._take_id(), "connect": connect}

    def ask(self, request: Request) -> Frame:
        """Numbers a request; returns the frame to send if there is a connection."""
        if request.sent is not None:
            request.sent.copies += 1
        number = self._take_id()
        self.requests[number] = request
        return {"id": number, request.verb: request.body}

    def again(self) -> list[Frame]:
        """Everything that has no answer, in its order, for a new connection."""
        waiting = list(self.requests.values())
        self.requests.clear()
        return [self.ask(request) for request in waiting]

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id

    # What arrives

    def take(self, data: bytes) -> tuple[bool, list[Request]]:
        """Takes the frames that arrived. Returns whether the session just began, and the requests
        that the server asks to repeat."""
        began = False
        repeat: list[Request] = []
        for frame in orjson.loads(data):
            self.frames += 1
            number = frame.pop("id", 0)
            [(kind, body)] = frame.items()
            if kind in ("message", "event"):
                self._row(kind, body)
            elif kind in ("caughtUp", "checkpoint"):
                self.older_token, self.token = self.token, body["token"]
                self.caught_up = True
                if self.tears_at_token:
                    self.tears_at_token, self.torn = False, True
                    break
            elif kind == "receipt":
                self.prediction.told_of(f"{self}", body)
            elif kind == "connected":
                began = self.connected = True
                self.sessions[-1].server = body["server"]
            elif number:
                again = self._answered(number, kind, body)
                if again is not None:
                    repeat.append(again)
        return began, repeat

    def _answered(self, number: int, kind: str, body: Frame) -> Request | None:
        request = self.requests.pop(number, None)
        if request is None:
            return None
        if kind == "error":
            if body["retryable"]:
                return request
            outcome = Outcome(error=body["name"])
        elif kind == ANSWERS[request.verb]:
            outcome = Outcome(body=body)
        else:
            raise AssertionError(f"{request.verb} was answered with {kind}")
        request.done(outcome)
        return None

    def _row(self, kind: str, row: Frame) -> None:
        conversation, seq = row["conversation"], row["seq"]
        session = self.sessions[-1]
        last = session.last.get(conversation)
        assert last is None or seq > last, (
            f"{self} was pushed seq {seq} of {conversation} after {last} in one session"
        )
        if last is not None and seq > last + 1:
            session.gaps.append((conversation, last, seq))
        session.last[conversation] = seq
        self.view.setdefault(conversation, {})[seq] = row["messageId"]
        self.prediction.seen(f"{self}", kind, row)

    def __str__(self) -> str:
        return f"dev{self.number} of {self.user}"


def first_token(partitions: int) -> str:
    """The token of somebody who has seen nothing (spec/wire.md, Recovery)."""
    parts = bytes([1]) + (1).to_bytes(4, "little") + bytes([partitions]) + bytes(partitions)
    return base64.urlsafe_b64encode(parts).rstrip(b"=").decode()
