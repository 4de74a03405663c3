"""`imfast reload`: new configuration and code, worker by worker, while clients talk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.soak.load import Load
from benchmarks.soak.service import Service
from tests.support.deadline import until
from tests.support.plain_client import PlainClient
from tests.support.server import Server

REFUSED, NO_SERVER = 2, 4
# Every new interpreter runs this first, from the directory that PYTHONPATH names.
CUSTOM = "sitecustomize.py"
DIES_WHEN_LOADED = "import sys\nif 'imfast.worker' in sys.orig_argv: sys.exit(9)\n"
DIES_WHEN_FORKED = "import os\nos.register_at_fork(after_in_child=lambda: os._exit(9))\n"


async def reload(data: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator does."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "imfast", "reload", "--data-dir", str(data), *flags],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def options(directory: Path) -> Path:
    """A configuration file in the server's directory."""
    directory.mkdir()
    return directory / "imfast.toml"


def write(file: Path, text: str) -> None:
    """Edit a file as an operator or an installer does."""
    file.write_text(text)


@contextlib.asynccontextmanager
async def knocking(port: int) -> AsyncIterator[list[OSError]]:
    """Connect again and again; give the list of those that were refused."""
    refused: list[OSError] = []

    async def knock() -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
            except OSError as error:
                refused.append(error)
            await asyncio.sleep(0.002)

    task = asyncio.create_task(knock())
    yield refused
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [1, 3])
async def test_reload_under_load_loses_nothing_and_refuses_nobody(
    directory: Path, options: Path, workers: int
) -> None:
    write(options, 'heartbeat_s = "20s"\ndrain_s = "2s"\n')
    service = Service(directory, "--config", str(options), "--partitions", "2", workers=workers)
    async with (
        service,
        Load(service, connections=40, rate=1_000, seconds=10, transport="ws-json") as load,
        knocking(service.port("ws-json")) as refused,
    ):
        pids = {worker.pid for worker in service.workers()}
        for heartbeat_s in (30, 40):
            write(options, f'heartbeat_s = "{heartbeat_s}s"\ndrain_s = "2s"\n')
            done = await reload(service.data)
            assert done.returncode == 0, done.stderr
            assert done.stdout == "reloaded\n"
            present = {worker.pid for worker in service.workers()}
            assert len(present) == workers
            assert not present & pids, "a worker of before is still there"
            pids = present
        assert load.running, "the load ended before the reloads"
        result = await load.finish()
    assert not result["wrong"], result
    assert result["acknowledged"] == result["sent"]
    assert not refused


async def test_reloaded_workers_have_the_new_configuration(directory: Path, options: Path) -> None:
    write(options, 'heartbeat_s = "20s"\n')
    async with Server(directory, "--config", str(options)) as server:
        write(options, 'heartbeat_s = "7s"\n')
        done = await reload(server.data)
        assert done.returncode == 0, done.stderr
        await server.restarted()
        async with await PlainClient.connect(server, "alice") as alice:
            assert alice.heartbeat_ms == 7_000


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ('heartbeat_s = "never"\n', "option heartbeat_s: 'never'"),
        ('node = "n2"\n', "option node: 'n1' cannot become 'n2' by a reload"),
        ("no_such_option = 1\n", "option no_such_option"),
        ("heartbeat_s = [\n", "no valid TOML"),
        ('jwt_secret_file = "/nonexistent"\n', "/nonexistent"),
    ],
)
async def test_reload_refuses_what_cannot_be_used_and_changes_nothing(
    directory: Path, options: Path, changed: str, said: str
) -> None:
    write(options, "")
    server = Server(directory, "--config", str(options), workers=1)
    async with server, await PlainClient.connect(server, "alice") as alice:
        before = server.read_ready()
        write(options, changed)
        done = await reload(server.data)
        assert done.returncode == REFUSED
        assert said in done.stderr
        assert server.read_ready() == before
        await alice.request("ping", {})


@pytest.mark.parametrize("broken", [DIES_WHEN_LOADED, DIES_WHEN_FORKED])
async def test_code_that_does_not_start_leaves_the_old_one_in_place(
    directory: Path, broken: str
) -> None:
    installed = directory / "installed"
    installed.mkdir(parents=True)
    write(installed / CUSTOM, "")
    server = Server(directory, environment={"PYTHONPATH": str(installed)})
    async with server, await PlainClient.connect(server, "alice") as alice:
        sent = await alice.request("send", {"to": {"user": "bob"}, "text": "before"})
        write(installed / CUSTOM, broken)
        done = await reload(server.data)
        assert done.returncode == REFUSED, done.stdout
        assert "cannot be loaded" in done.stderr or "does not start" in done.stderr
        # Mended, so that what dies from now on dies of the server's own doing.
        write(installed / CUSTOM, "")
        await until(lambda: server.read_ready() is not None, "a ready server")
        async with await PlainClient.connect(server, "alice") as again:
            after = await again.request("send", {"to": {"user": "bob"}, "text": "after"})
        assert after["sent"]["seq"] == sent["sent"]["seq"] + 1
        done = await reload(server.data)
        assert done.returncode == 0, done.stderr
        await server.restarted()


async def test_reload_without_a_server_says_so(directory: Path) -> None:
    done = await reload(directory)
    assert done.returncode == NO_SERVER
    assert "no server runs on the data directory" in done.stderr


async def test_hangup_of_the_terminal_ends_the_server(directory: Path) -> None:
    controller, terminal = os.openpty()
    server = Server(directory, workers=1)
    process = await asyncio.create_subprocess_exec(
        *server.command(),
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        await until(lambda: server.read_ready() is not None, "a ready server", timeout=30)
        os.close(controller)
        process.send_signal(signal.SIGHUP)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
