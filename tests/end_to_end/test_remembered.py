"""A server that is started again as it was does not read its configuration a second time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.plain_client import PlainClient
from tests.support.server import ROOT, Server


def has_read(server: Server) -> bool:
    """Whether the supervisor has loaded what judges options: a native module of it is mapped."""
    regions = psutil.Process(server.ready.pid).memory_maps()
    return any("pydantic_core" in region.path for region in regions)


async def test_killed_server_starts_again_without_reading_its_options(directory: Path) -> None:
    async with Server(directory, "--log-level", "warning") as first:
        assert has_read(first)
        async with await PlainClient.connect(first, "alice") as alice:
            sent = await alice.send({"user": "bob"}, "k", 1)
        await first.kill_supervisor()
    async with Server(directory, "--log-level", "warning") as second:
        assert not has_read(second)
        async with await PlainClient.connect(second, "alice") as alice:
            again = await alice.send({"user": "bob"}, "k", 1)
        assert again == sent | {"duplicate": True}
    async with Server(directory, "--log-level", "error") as third:
        assert has_read(third)


def run(command: list[str]) -> tuple[int, str]:
    """Run a server that is to refuse; return its exit code and what it says."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=30, cwd=ROOT
    )
    return done.returncode, done.stderr


def serve(data: Path, *arguments: str) -> tuple[int, str]:
    flags = ("--data-dir", str(data), "--port", "0", "--tcp-port", "0", "--admin-port", "0")
    return run([sys.executable, "-m", "imfast", "serve", *flags, *arguments])


def test_what_cannot_start_is_refused_in_the_same_words_every_time(directory: Path) -> None:
    data = directory / "data"
    refusals = [serve(data, "--frame-bytes-max", "1") for _ in range(2)]
    assert refusals[0] == refusals[1]
    assert refusals[0][0] == 2
    assert "option frame_bytes_max: '1' (from flag --frame-bytes-max)" in refusals[0][1]


async def test_second_server_is_refused_whether_or_not_options_are_remembered(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Server(directory) as server:
        refused = []
        for variable in ("", "a"):
            monkeypatch.setenv("IMFAST_NODE", variable)
            refused.append(await asyncio.to_thread(run, server.command()))
        text = f"imfast: data directory {server.data} is in use by the server with pid"
        assert [code for code, _ in refused] == [5, 5]
        assert all(error.startswith(text) for _, error in refused), refused
        assert (server.data / "run" / "options.json").exists()


@pytest.mark.parametrize("remembered", [False, True])
async def test_missing_native_module_is_said_with_its_cure(
    directory: Path, remembered: bool
) -> None:
    if remembered:
        async with Server(directory):
            pass
    server = Server(directory)
    without = "import sys, runpy; sys.modules['imfast._engine'] = None; sys.argv[0] = 'imfast'"
    program = ["-c", f"{without}; runpy.run_module('imfast', run_name='__main__')"]
    code, error = await asyncio.to_thread(
        run, [server.command()[0], *program, *server.command()[3:]]
    )
    assert code == 1, error
    assert "the native module is not there" in error
    assert "make build" in error
    assert "Traceback" not in error
