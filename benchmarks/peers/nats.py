"""NATS server, core NATS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.go_module import install, program, version
from benchmarks.peers.peer import Peer

__all__ = ["Nats"]

MODULE = "github.com/nats-io/nats-server/v2"

CONFIGURATION = """\
host: 127.0.0.1
max_connections: 64K
write_deadline: "10s"
"""


class Nats(Peer):
    name = "NATS"
    transport = "nats"
    guarantee = "at most once, from memory (core NATS)"
    settings = "defaults; text protocol over TCP, no authentication"

    def install(self) -> None:
        install(MODULE)

    def version(self) -> str | None:
        return version(MODULE, "nats-server")

    def command(self, directory: Path, port: int) -> Sequence[str | Path]:
        configuration = directory / "nats.conf"
        configuration.write_text(CONFIGURATION)
        return [program("nats-server"), "--config", configuration, "--port", str(port)]
