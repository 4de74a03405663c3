"""The server to be measured: where it listens, and which processes it has."""

from __future__ import annotations

import json
import socket
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imfast.config.schema import Settings

__all__ = ["NoServerError", "Target", "find_target", "pss_kib"]

CONNECT_SECONDS = 3.0


class NoServerError(Exception):
    """Nobody listens there; the message says where, and what to do."""


@dataclass(frozen=True)
class Target:
    """A server that listens."""

    host: str
    """An IPv4 address."""
    port: int
    pids: tuple[int, ...]
    """Its workers; empty when they are not known: then there are no figures of its processors."""
    durability: str
    """What an ack survives; empty when not known."""

    def memory_kib(self) -> float:
        """Memory of all workers, shared pages in proportion (`smaps_rollup`)."""
        return sum(pss_kib(pid) for pid in self.pids)


def find_target(settings: Settings, transport: str) -> Target:
    """Looks for the server that these settings describe.

    Raises:
        NoServerError: nobody listens at the port of the transport.
    """
    name = "tcp_port" if transport == "tcp" else "port"
    port: int = getattr(settings, name)
    try:
        host = _address(settings.host)
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS):
            pass
    except OSError as error:
        raise NoServerError(
            f"no server at {settings.host}:{port} ({error.strerror or error}): start one with"
            f" `imfast serve`, or say where it is with --host and --{name.replace('_', '-')}"
        ) from None
    status = _status(settings.admin_port)
    # Another server's admin port says nothing about this one.
    if status.get("ports", {}).get("tcp" if name == "tcp_port" else "http") != port:
        return Target(host, port, (), "")
    pids = tuple(worker["pid"] for worker in status["workers"] if worker["pid"])
    readable = all(Path(f"/proc/{pid}/schedstat").exists() for pid in pids)
    return Target(host, port, pids if readable else (), status["durability"])


def _address(host: str) -> str:
    """The IPv4 address to connect to; a server on all addresses is here too."""
    found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    address = str(found[0][4][0])
    return "127.0.0.1" if address == "0.0.0.0" else address  # noqa: S104 - compared, not bound


def _status(port: int) -> dict[str, Any]:
    """`/v1/status` of the server on this machine; empty when nobody answers."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/v1/status", timeout=CONNECT_SECONDS
        ) as answer:
            status = json.load(answer)
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def pss_kib(pid: int) -> float:
    """Memory of one process, shared pages in proportion, from `smaps_rollup`."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise RuntimeError(f"no Pss of process {pid}")
