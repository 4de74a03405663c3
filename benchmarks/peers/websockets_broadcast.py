"""The `websockets` library with its own `broadcast`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import Peer, PythonEnvironment

__all__ = ["WebsocketsBroadcast"]

ENVIRONMENT = PythonEnvironment()
PACKAGES = ("websockets", "uvloop")


class WebsocketsBroadcast(Peer):
    name = "websockets"
    transport = "plain"
    slow = True
    guarantee = "at most once, from memory"
    settings = "one process, uvloop, no compression; websockets.broadcast"

    def install(self) -> None:
        ENVIRONMENT.install(*PACKAGES)

    def version(self) -> str | None:
        return ENVIRONMENT.version(*PACKAGES)

    def command(self, _directory: Path, port: int) -> Sequence[str | Path]:
        return [*ENVIRONMENT.server("websockets_server.py"), str(port)]
