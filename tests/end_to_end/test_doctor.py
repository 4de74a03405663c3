"""What `imfast doctor` claims, tried on a server under the same limits."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.server import ROOT, Server

OPEN_FILES = 1_000
UPGRADE = (
    b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def doctor(server: Server) -> dict[str, Any]:
    """Run the command as it would be run on the server's machine; return what it prints."""
    command = [sys.executable, "-m", "imfast", "doctor", "--json", "--sockets", "800"]
    command += ["--workers", str(server.workers), "--data-dir", str(server.data)]
    run = subprocess.run([*server.prefix, *command], cwd=ROOT, capture_output=True, text=True)
    document: dict[str, Any] = json.loads(run.stdout)
    return document


def accepted(port: int, attempts: int) -> int:
    """Open connections until one gets no answer; return how many got theirs."""
    with ExitStack() as stack:
        for count in range(attempts):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.settimeout(2.0)
            client.sendall(UPGRADE)
            try:
                answer = client.recv(1000)
            except TimeoutError:
                return count
            assert answer.startswith(b"HTTP/1.1 101 ")
    return attempts


async def test_server_holds_as_many_connections_as_the_doctor_says(directory: Path):
    limited = ["prlimit", f"--nofile={OPEN_FILES}"]
    async with Server(directory, workers=1, prefix=limited) as server:
        document = doctor(server)
        assert document["limited_by"] == "open files"
        claimed = document["connections"]
        assert 0 < claimed < OPEN_FILES
        held = accepted(server.ready.http, OPEN_FILES)
        assert abs(held - claimed) <= 0.1 * claimed
