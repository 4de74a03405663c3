"""uWebSockets through socketify, with uWebSockets' own topics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import Peer, PythonEnvironment

__all__ = ["Socketify"]

ENVIRONMENT = PythonEnvironment()


class Socketify(Peer):
    name = "socketify (uWebSockets)"
    transport = "plain"
    guarantee = "at most once, from memory"
    settings = "one process, no compression; app.publish to topics, ws.send to one"

    def install(self) -> None:
        ENVIRONMENT.install("socketify")

    def version(self) -> str | None:
        return ENVIRONMENT.version("socketify")

    def command(self, _directory: Path, port: int) -> Sequence[str | Path]:
        return [*ENVIRONMENT.server("socketify_server.py"), str(port)]
