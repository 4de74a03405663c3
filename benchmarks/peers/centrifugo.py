"""Centrifugo, JSON over WebSocket, users with a JWT."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import jwt

from benchmarks.peers.go_module import install, program, version
from benchmarks.peers.peer import Peer

__all__ = ["Centrifugo"]

MODULE = "github.com/centrifugal/centrifugo/v6"
SECRET = "a-secret-of-a-benchmark-and-of-nothing-else"
TOKEN_SECONDS = 3600


class Centrifugo(Peer):
    name = "Centrifugo"
    transport = "centrifugo"
    guarantee = "at most once, from memory (no history)"
    settings = "memory engine, JSON over WebSocket, HS256 JWT, log level error, no compression"

    def install(self) -> None:
        install(MODULE)

    def version(self) -> str | None:
        return version(MODULE, "centrifugo")

    def command(self, directory: Path, port: int) -> Sequence[str | Path]:
        configuration = directory / "config.json"
        configuration.write_text(
            json.dumps(
                {
                    "http_server": {"address": "127.0.0.1", "port": str(port)},
                    "log": {"level": "error"},
                    "client": {"token": {"hmac_secret_key": SECRET}},
                    "channel": {
                        "without_namespace": {
                            "allow_subscribe_for_client": True,
                            "allow_publish_for_client": True,
                        }
                    },
                }
            )
        )
        return [program("centrifugo"), "--config", configuration]

    def credential(self, user: str) -> str:
        claims = {"sub": user, "exp": int(time.time()) + TOKEN_SECONDS}
        return jwt.encode(claims, SECRET, "HS256")
