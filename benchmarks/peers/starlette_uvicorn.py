"""Starlette on uvicorn: the connection manager that its documentation's chat example has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import Peer, PythonEnvironment

__all__ = ["StarletteUvicorn"]

ENVIRONMENT = PythonEnvironment()
PACKAGES = ("uvicorn", "starlette", "uvloop", "httptools", "websockets")


class StarletteUvicorn(Peer):
    name = "Starlette + uvicorn"
    transport = "plain"
    slow = True
    guarantee = "at most once, from memory"
    settings = "one process, uvloop, httptools, no access log, no compression; send_text in a loop"

    def install(self) -> None:
        ENVIRONMENT.install(*PACKAGES)

    def version(self) -> str | None:
        return ENVIRONMENT.version(*PACKAGES[:2])

    def command(self, _directory: Path, port: int) -> Sequence[str | Path]:
        return [*ENVIRONMENT.server("starlette_server.py"), str(port)]
