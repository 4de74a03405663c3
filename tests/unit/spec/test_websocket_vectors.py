"""The shared WebSocket vectors say what another implementation says: the ``websockets`` package.

Its sans-IO protocol gets the bytes of each vector. Where RFC 6455 leaves no choice both must
agree; where there is one, `LATER` and `OTHERWISE` say what ours is and why.
"""

from __future__ import annotations

import codecs
import json
from typing import Any

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from tests.unit.spec.reference import SPEC

Case = dict[str, Any]

CASES: list[Case] = json.loads((SPEC / "vectors" / "websocket.json").read_text(encoding="utf-8"))[
    "cases"
]


def joined(parts: list[Any]) -> bytes:
    """Join parts, each hex or ``{hex, times}``."""
    return b"".join(
        bytes.fromhex(part) if isinstance(part, str) else bytes.fromhex(part["hex"]) * part["times"]
        for part in parts
    )


# Both refuse, with the same code. Ours does so as soon as it can be known, so that nothing is
# buffered for it; the package needs these bytes too.
LATER = {
    # The rest of a control frame that is too long by its header.
    "close of 126 bytes, refused from its header": bytes(126),
    "ping of 126 bytes, refused from its header": bytes(126),
    "pong of 126 bytes, refused from its header": bytes(126),
    # The rest of the frame whose text is bad already.
    "text is refused before its frame is complete": bytes(65536),
    # The end of the message: Python's decoder takes half a surrogate for half a character.
    "surrogate's second byte in the next fragment fails there": bytes.fromhex("808037fa213d"),
}

# What the package makes of a vector, and why ours does not. In each ours is what the RFC says.
NOT_SHORTEST = "section 5.2: the minimal number of bytes MUST be used; the package takes any"
OTHERWISE: dict[str, tuple[list[Any], int | None, str]] = {
    "125 as a 16-bit length": ([], None, NOT_SHORTEST),
    "0 as a 16-bit length": ([{"binary": b""}], None, NOT_SHORTEST),
    "65535 as a 64-bit length": ([], None, NOT_SHORTEST),
    "64-bit length with its highest bit set": (
        [],
        1009,
        "section 5.2: the highest bit MUST be 0; the package sees a long message",
    ),
    "close between fragments": (
        [],
        1002,
        "section 5.4: control frames may come within a fragmented message; a close is one",
    ),
    "control frames do not count towards the limit": (
        [],
        1009,
        "section 10.4 lets us limit messages; a control frame is none and has its own limit, 125",
    ),
}


class Receiver:
    """Puts the frames of the protocol together to messages, as the package's connections do."""

    def __init__(self, case: Case) -> None:
        side = Side.SERVER if case["role"] == "server" else Side.CLIENT
        self._protocol = Protocol(side, state=State.OPEN, max_size=case["messageBytesMax"])
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._kind: Opcode | None = None
        self._parts: list[Any] = []
        self.events: list[Any] = []
        # What the answer to an error is; None without one.
        self.close_code: int | None = None

    def feed(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        try:
            for frame in self._protocol.events_received():
                assert isinstance(frame, Frame)
                self._take(frame)
        except UnicodeDecodeError:
            # The package's protocol leaves text to the connections, which end with 1007.
            self.close_code = 1007
            return
        if self._protocol.parser_exc is not None:
            assert self._protocol.close_sent is not None
            self.close_code = self._protocol.close_sent.code

    def _take(self, frame: Frame) -> None:
        data = bytes(frame.data)
        if frame.opcode is Opcode.CLOSE:
            close = Close.parse(data)
            code = close.code if data else None
            self.events.append({"close": {"code": code, "reason": close.reason}})
        elif frame.opcode in (Opcode.PING, Opcode.PONG):
            self.events.append({frame.opcode.name.lower(): data})
        else:
            if frame.opcode is not Opcode.CONT:
                self._kind = frame.opcode
            text = self._kind is Opcode.TEXT
            self._parts.append(self._decoder.decode(data, final=frame.fin) if text else data)
            if frame.fin:
                empty: Any = "" if text else b""
                self.events.append({"text" if text else "binary": empty.join(self._parts)})
                self._parts.clear()


def expected_events(case: Case) -> list[Any]:
    """The events of a vector with bytes as bytes."""
    as_bytes = {"binary": joined, "ping": bytes.fromhex, "pong": bytes.fromhex}
    return [
        {kind: as_bytes[kind](value) if kind in as_bytes else value}
        for event in case["events"]
        for kind, value in event.items()
    ]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_other_implementation_understands_the_same(case: Case) -> None:
    receiver = Receiver(case)
    receiver.feed(joined(case["input"]))
    name = case["name"]
    if name in OTHERWISE:
        events, close_code, _ = OTHERWISE[name]
        assert (receiver.events, receiver.close_code) == (events, close_code)
        assert (events, close_code) != (expected_events(case), case.get("closeCode"))
        return
    if name in LATER:
        assert receiver.close_code is None, "no more of it is needed: take it out of the list"
        receiver.feed(LATER[name])
    assert receiver.events == expected_events(case)
    assert receiver.close_code == case.get("closeCode")


def test_every_difference_is_of_a_vector() -> None:
    assert {*LATER, *OTHERWISE} <= {case["name"] for case in CASES}


def test_both_roles_and_every_close_code_are_covered() -> None:
    agreed = [case for case in CASES if case["name"] not in OTHERWISE]
    assert {case["role"] for case in agreed} == {"client", "server"}
    assert {case.get("closeCode") for case in agreed} == {None, 1002, 1007, 1009}
