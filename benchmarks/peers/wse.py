"""wse-server: a WebSocket server in Rust whose application is Python 3.12 or newer."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import Peer, PythonEnvironment

__all__ = ["WseServer"]

ENVIRONMENT = PythonEnvironment("venv-wse")
OLDEST = (3, 12)
NEWER = ("python3.14", "python3.13", "python3.12")


class WseServer(Peer):
    name = "wse-server"
    transport = "plain"
    guarantee = "at most once, from memory"
    settings = (
        "drain mode (recommended), no JWT, no recovery; the inbound limit of 10,000/s a connection"
        " raised; broadcast_local to topics, send to one"
    )

    def install(self) -> None:
        interpreter = _interpreter()
        if interpreter is None:
            raise OSError("wse-server needs Python 3.12 or newer on the PATH or in pyenv")
        PythonEnvironment("venv-wse", interpreter).install("wse-server")

    def version(self) -> str | None:
        return ENVIRONMENT.version("wse-server")

    def command(self, _directory: Path, port: int) -> Sequence[str | Path]:
        return [*ENVIRONMENT.server("wse_topics_server.py"), str(port)]


def _interpreter() -> Path | None:
    if sys.version_info >= OLDEST:
        return Path(sys.executable)
    # pyenv's shims are on the PATH for versions that are not chosen, and fail.
    pyenv = Path.home() / ".pyenv/versions"
    for name in NEWER:
        version = name.removeprefix("python")
        for found in sorted(pyenv.glob(f"{version}.*/bin/{name}"), reverse=True):
            return found
        on_path = shutil.which(name)
        if on_path is not None and ".pyenv/shims" not in on_path:
            return Path(on_path)
    return None
