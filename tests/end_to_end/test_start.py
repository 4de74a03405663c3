"""Starts that cannot work: each a clear message and its own exit code."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from tests.support.deadline import until
from tests.support.plain_client import PlainClient
from tests.support.server import START_SECONDS, Server

USAGE, PORT_BUSY, DATA_DIRECTORY, ALREADY_RUNNING = 2, 3, 4, 5


async def refusal(server: Server) -> tuple[int, str]:
    """Start a server that exits by itself; return its status and what it said."""
    process = server.spawn()
    status = await until(
        lambda: None if process.poll() is None else (process.returncode,),
        "the exit of a server that cannot start",
        timeout=START_SECONDS,
    )
    text = server.log.read_text()
    assert "Traceback" not in text, text
    assert not server.ready_file.exists()
    assert not server.processes(), "no process is left of it"
    return status[0], text


@pytest.mark.parametrize("option", ["--port", "--tcp-port", "--admin-port"])
async def test_busy_port_is_named(directory: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, text = await refusal(Server(directory, option, port))
    assert status == PORT_BUSY
    assert port in text


async def test_directory_that_cannot_be_made_is_named(directory: Path) -> None:
    server = Server(directory)
    # Even root can make no directory below a file.
    (directory / "file").touch()
    server.data = directory / "file" / "data"
    status, text = await refusal(server)
    assert status == DATA_DIRECTORY
    assert str(server.data) in text


async def test_directory_of_a_newer_version_is_left_alone(directory: Path) -> None:
    async with Server(directory) as server:
        layout = server.data / "layout.json"
    content = json.loads(layout.read_text())
    newer = json.dumps(content | {"format": content["format"] + 1, "unheard of": True})
    layout.write_text(newer)
    status, text = await refusal(Server(directory))
    assert status == DATA_DIRECTORY
    assert str(server.data) in text
    assert "newer" in text
    assert layout.read_text() == newer


async def test_directory_laid_out_for_other_partitions_is_refused(directory: Path) -> None:
    async with Server(directory, "--partitions", "3"):
        pass
    status, text = await refusal(Server(directory, "--partitions", "4"))
    assert status == DATA_DIRECTORY
    assert "3" in text
    assert "4" in text


async def test_second_server_on_a_directory_is_refused_and_the_first_goes_on(
    directory: Path, tmp_path: Path
) -> None:
    async with Server(directory) as first:
        second = Server(tmp_path / "second")
        second.data = first.data
        status, text = await refusal(second)
        assert status == ALREADY_RUNNING
        assert str(first.data) in text
        async with await PlainClient.connect(first, "alice") as alice:
            assert (await alice.send({"user": "bob"}, "k", 1))["seq"] == 1


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--workers", "0"), "workers"),
        (("--heartbeat-s", "soon"), "heartbeat"),
        (("--body-bytes-max", "100MiB"), "body"),
        (("--host", "0.0.0.0"), "host"),  # noqa: S104  what is refused
    ],
)
async def test_option_that_cannot_be_is_named(
    directory: Path, flags: tuple[str, ...], named: str
) -> None:
    status, text = await refusal(Server(directory, *flags))
    assert status != 0
    assert named in text


async def test_server_starts_again_where_it_was_killed(directory: Path) -> None:
    """The lock is the process's own: it does not outlive it."""
    async with Server(directory) as server:
        async with await PlainClient.connect(server, "alice") as alice:
            sent = await alice.send({"user": "bob"}, "k", 1)
        await server.kill_all()
        await server.start()
        async with await PlainClient.connect(server, "alice") as alice:
            again = await alice.send({"user": "bob"}, "k", 1)
            assert again == {**sent, "duplicate": True}


async def test_orderly_stop_says_goodbye_and_exits_with_0(directory: Path) -> None:
    async with Server(directory) as server:
        alice = await PlainClient.connect(server, "alice")
        await asyncio.wait_for(alice.caught_up.wait(), 10)
        assert await server.stop() == 0
        code = await alice.wait_closed()
        assert code is not None
        assert code == 1001 or 4000 <= code <= 4499, "come back later"
        assert not server.ready_file.exists()
        await alice.close()
