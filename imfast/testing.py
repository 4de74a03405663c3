"""A real server for tests: its own directory, ports that the kernel chooses, gone afterwards.

With pytest, in `conftest.py`::

    from imfast.testing import server_fixture

    imfast_server = server_fixture()      # of the session; a test asks for `imfast_server`

    def test_welcome(imfast_server):
        with imfast_server.api() as api:
            token = api.create_user("alice").token

Without pytest, `with imfast.testing.server() as running:` does the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imfast.server_api import AsyncServerAPI, ServerAPI

__all__ = ["Running", "ServerDidNotStartError", "server", "server_fixture"]

START_S = 60.0
STOP_S = 20.0
LOOK_S = 0.02


class ServerDidNotStartError(Exception):
    """The text ends with what the server wrote."""


@dataclass(frozen=True)
class Running:
    """A server that clients can reach."""

    directory: Path
    """Where its data and its log `server.log` are."""
    url: str
    """Of WebSocket clients: ``ws://127.0.0.1:41234``."""
    http_url: str
    admin_url: str
    tcp_address: tuple[str, int]
    key: str
    """Of the server API, for everything."""

    def api(self) -> ServerAPI:
        """The server API, to be closed."""
        return ServerAPI(self.http_url, key=self.key)

    def async_api(self) -> AsyncServerAPI:
        """The same for an event loop."""
        return AsyncServerAPI(self.http_url, key=self.key)

    def token(self, user: str) -> str:
        """A token for a client."""
        with self.api() as api:
            return api.create_user(user).token


@contextmanager
def server(*arguments: str, workers: int = 1, durability: str = "os") -> Iterator[Running]:
    """A server while the block runs; `arguments` are further ones of `imfast serve`.

    Raises:
        ServerDidNotStartError: it is not ready within a minute.
    """
    with tempfile.TemporaryDirectory(prefix="imfast-") as name:
        directory = Path(name)
        data = directory / "data"
        ready = directory / "ready.json"
        command = [
            *(sys.executable, "-m", "imfast", "serve"),
            *("--data-dir", str(data), "--ready-file", str(ready)),
            *("--port", "0", "--tcp-port", "0", "--admin-port", "0"),
            *("--workers", str(workers), "--durability", durability),
            *arguments,
        ]
        # The server's options are these, whatever the tester's environment says.
        clean = {k: v for k, v in os.environ.items() if not k.startswith("IMFAST_")}
        with (directory / "server.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - this package's own program
                command, stdout=log, stderr=log, cwd=directory, env=clean, start_new_session=True
            )
        try:
            ports = _ports(process, ready, directory / "server.log")
            yield _running(directory, data, ports, clean)
        finally:
            _stop(process)


def _running(
    directory: Path, data: Path, ports: dict[str, int], environment: dict[str, str]
) -> Running:
    command = [sys.executable, "-m", "imfast", "key", "create", "testing", "--scope", "all"]
    made = subprocess.run(  # noqa: S603 - as above
        [*command, "--data-dir", str(data)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=directory,
    )
    return Running(
        directory=directory,
        url=f"ws://127.0.0.1:{ports['http']}",
        http_url=f"http://127.0.0.1:{ports['http']}",
        admin_url=f"http://127.0.0.1:{ports['admin']}",
        tcp_address=("127.0.0.1", ports["tcp"]),
        key=made.stdout.strip(),
    )


def _ports(process: subprocess.Popen[bytes], ready: Path, log: Path) -> dict[str, int]:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if ready.exists():  # it is there completely or not at all
            ports: dict[str, int] = json.loads(ready.read_text())["ports"]
            return ports
        if process.poll() is not None:
            break
        time.sleep(LOOK_S)
    said = log.read_text(errors="replace")[-4000:]
    raise ServerDidNotStartError(f"exit status {process.poll()}; it wrote:\n{said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server, and whatever of its process group would stay."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def server_fixture(
    *arguments: str, workers: int = 1, scope: str = "session", name: str | None = None
) -> Callable[..., Any]:
    """A pytest fixture that is a `Running` server. Assign it to the name that tests ask for."""
    import pytest

    def fixture() -> Iterator[Running]:
        with server(*arguments, workers=workers) as running:
            yield running

    made: Callable[..., Any] = pytest.fixture(scope=scope, name=name)(fixture)  # type: ignore[call-overload]
    return made
