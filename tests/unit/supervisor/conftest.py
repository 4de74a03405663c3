"""A real server process with stub workers: see stub_server.py and stub_worker.py."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import imfast

HERE = Path(__file__).parent


def eventually(condition: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    """Waits until `condition` returns something true, and returns it."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs: a zombie does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


class StubServer:
    """One server. Ends with its test."""

    def __init__(self, directory: Path, behaviour: str, options: dict[str, object]) -> None:
        self.ready_file = directory / "ready.json"
        self.log_file = directory / "log"
        values: dict[str, object] = {
            "data_dir": directory / "data",
            "ready_file": self.ready_file,
            "port": 0,
            "tcp_port": 0,
            "admin_port": 0,
            "workers": 2,
            "partitions": 4,
            "drain_s": 5,
        }
        values.update(options)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    str(HERE / "stub_server.py"),
                    *(f"{name}={value}" for name, value in values.items()),
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": str(Path(imfast.__file__).parents[1]),
                    "STUB_BEHAVIOUR": behaviour,
                },
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def ready(self) -> dict[str, Any]:
        """The ready file's content, once it is there."""
        eventually(lambda: self.ready_file.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log
        return json.loads(self.ready_file.read_text())

    def ready_with(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The ready file's content, once `condition` holds."""
        eventually(lambda: condition(self.ready()))
        return self.ready()

    def exit_code(self, timeout_s: float = 15.0) -> int:
        return self.process.wait(timeout_s)

    def admin(self, path: str) -> tuple[int, str]:
        port = self.ready()["ports"]["admin"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()

    def greeting(self) -> str:
        """The name of the worker that accepts a new connection."""
        port = self.ready()["ports"]["http"]
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            return connection.recv(100).decode()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., StubServer]]:
    """Starts servers; `start(behaviour, option=value…)`."""
    servers: list[StubServer] = []

    def start_one(behaviour: str = "", **options: object) -> StubServer:
        server = StubServer(tmp_path, behaviour, options)
        servers.append(server)
        return server

    yield start_one
    for server in servers:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
