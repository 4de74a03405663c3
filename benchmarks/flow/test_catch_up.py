"""What a return after 10,000 messages in 200 conversations costs the server."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from benchmarks.flow.figures import TABLE, Bar, Row, in_turn
from benchmarks.flow.server import Server

SECTION = "Catch-up"
CONVERSATIONS = 200
MISSED_EACH = 50
BYTES = 128
BAR_MS = Bar(at_most=20)

READ_BYTES = 1 << 20
SECONDS_MAX = 60.0
# A worker that has something to do ends it within so many seconds of the last byte.
SETTLED_S = 0.05


@pytest.mark.parametrize("workers", [1, 2])
def test_catch_up(benchmark: Any, tmp_path: Path, rounds: int, workers: int) -> None:
    with Server(tmp_path / "server", workers=workers) as server:
        (_, sender), (reader, token) = server.users(2)
        sync = caught_up_token(server, token)
        send_all(server, sender, reader)
        # The first may read what the others find in caches.
        come_back(server, token, sync)
        found = in_turn(benchmark, rounds, lambda _: come_back(server, token, sync))
    runs = [run for (run,) in found]
    name = f"10,000 missed in 200 conversations, {workers} workers: ms of server CPU"
    TABLE.rows += [
        Row.alone(name, [run["cpu_ms"] for run in runs], BAR_MS),
        Row.alone("- until caught up, ms", [run["ms"] for run in runs]),
    ]


def send_all(server: Server, token: str, member: str) -> None:
    """Makes the conversations and sends to all in turn, as they would be missed."""
    with opened(server, token) as websocket:
        groups = []
        for number in range(CONVERSATIONS):
            create = {"key": f"g{number}", "title": "g", "members": [member]}
            reply = asked(websocket, {"id": 1, "group": {"create": create}}, 1)
            groups.append(reply["group"]["conversation"])
        for turn in range(MISSED_EACH):
            frames = [
                {
                    "id": number + 1,
                    "send": {
                        "to": {"group": group},
                        "key": f"{turn}-{number}",
                        "text": "x" * BYTES,
                    },
                }
                for number, group in enumerate(groups)
            ]
            asked(websocket, frames, len(frames))


@contextmanager
def opened(server: Server, token: str) -> Iterator[ClientConnection]:
    """A connected WebSocket."""
    with connect(
        f"ws://127.0.0.1:{server.http_port}/v1/ws",
        compression=None,
        max_size=None,
        ping_interval=None,
        proxy=None,
    ) as websocket:
        websocket.send(json.dumps({"id": 1, "connect": {"token": token, "device": "d"}}))
        yield websocket


def values(message: str | bytes) -> Iterator[dict[str, Any]]:
    """The frames of a message."""
    text, offset, decode = str(message), 0, json.JSONDecoder().raw_decode
    while offset < len(text):
        frame, offset = decode(text, offset)
        yield frame


def asked(websocket: ClientConnection, frames: Any, replies: int) -> dict[str, Any]:
    """Sends frames and waits for as many replies; returns the last."""
    many = frames if isinstance(frames, list) else [frames]
    # `connect` has an id too, which is no reply to this.
    websocket.send("".join(map(json.dumps, many)))
    last: dict[str, Any] = {}
    while replies:
        for frame in values(websocket.recv(SECONDS_MAX)):
            if "id" in frame and "connected" not in frame:
                assert "error" not in frame, frame
                replies -= 1
                last = frame
    return last


def caught_up_token(server: Server, token: str) -> str:
    """Where a reader stands that has seen everything."""
    with opened(server, token) as websocket:
        while True:
            for frame in values(websocket.recv(SECONDS_MAX)):
                if "caughtUp" in frame:
                    sync: str = frame["caughtUp"]["token"]
                    return sync


def come_back(server: Server, token: str, sync: str) -> dict[str, float]:
    """Connects with an old token and reads until caught up; counts what that took."""
    body = {"id": 1, "connect": {"token": token, "device": "d", "sync": sync}}
    with socket.create_connection(("127.0.0.1", server.http_port)) as ours:
        ours.settimeout(SECONDS_MAX)
        ours.sendall(UPGRADE)
        head = b""
        while b"\r\n\r\n" not in head:
            head += ours.recv(READ_BYTES)
        before, began = server.cpu_ns(), time.monotonic()
        ours.sendall(masked(json.dumps(body).encode()))
        received = bytearray(head.partition(b"\r\n\r\n")[2])
        while b'"caughtUp"' not in received[-200:]:
            data = ours.recv(READ_BYTES)
            assert data, "the server ended the session"
            received += data
        took = time.monotonic() - began
        # What is still done for this session counts too.
        while time.monotonic() - began < took + SETTLED_S:
            time.sleep(SETTLED_S / 10)
        cpu_ns = server.cpu_ns() - before
    messages = received.count(b'"message":{')
    assert messages == CONVERSATIONS * MISSED_EACH, messages
    return {"cpu_ms": cpu_ns / 1e6, "ms": took * 1e3}


UPGRADE = (
    b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def masked(content: bytes) -> bytes:
    """A client's text message, masked with zeros."""
    size = len(content)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + content
