"""python-socketio on uvicorn: rooms, which is how Socket.IO broadcasts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import Peer, PythonEnvironment

__all__ = ["PythonSocketIo"]

ENVIRONMENT = PythonEnvironment()
PACKAGES = ("python-socketio", "uvicorn", "uvloop", "httptools", "websockets")


class PythonSocketIo(Peer):
    name = "python-socketio"
    transport = "socket-io"
    slow = True
    guarantee = "at most once, from memory"
    settings = "one process, uvloop, httptools, no access log, WebSocket only; emit to rooms"

    def install(self) -> None:
        ENVIRONMENT.install(*PACKAGES)

    def version(self) -> str | None:
        return ENVIRONMENT.version(*PACKAGES[:2])

    def command(self, _directory: Path, port: int) -> Sequence[str | Path]:
        return [*ENVIRONMENT.server("socketio_server.py"), str(port)]
