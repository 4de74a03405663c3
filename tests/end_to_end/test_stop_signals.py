"""Told to stop at a bad moment: while it starts, or while nothing can be opened any more."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deadline import until
from tests.support.descriptors import leave_descriptors
from tests.support.plain_client import PlainClient
from tests.support.server import Server

# After the moment from which a process can do better than die by the signal.
DELAYS_S = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal: SigCgt of proc(5)."""
    text = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("SigCgt")]
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("delay_s", DELAYS_S)
async def test_server_told_to_stop_while_it_starts_exits_with_zero(
    directory: Path, delay_s: float
) -> None:
    server = Server(directory)
    process = server.spawn()
    await until(lambda: handles(process.pid, signal.SIGTERM), "the first handler")
    await asyncio.sleep(delay_s)  # when the signal comes is what is tested
    process.send_signal(signal.SIGTERM)
    await until(lambda: process.poll() is not None, "its exit")
    assert process.returncode == 0, server.log.read_text()
    assert "Traceback" not in server.log.read_text()
    await until(lambda: not server.processes(), "the end of its workers")


@pytest.mark.parametrize("module", ["json", "pydantic", "uvloop"])
def test_server_told_to_stop_while_it_imports_exits_with_zero(directory: Path, module: str) -> None:
    """Extension modules import others in the middle of their own set-up.

    An exception out of the signal's handler crashed one and was lost in another.
    """
    program = f"""
import runpy, signal, sys

class Teller:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGTERM)

sys.meta_path.insert(0, Teller())
sys.argv[:] = ["imfast", "serve", "--data-dir", {str(directory / "data")!r}, "--host", "127.0.0.1"]
sys.argv += ["--port", "0", "--tcp-port", "0", "--admin-port", "0"]
runpy.run_module("imfast", run_name="__main__")
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr
    assert "Traceback" not in run.stderr


def test_first_handler_stands_before_anything_else_is_imported() -> None:
    """What is left is the interpreter's own start."""
    show = "import sys, imfast.__main__; print(*(m for m in sys.modules if 'imfast.' in m))"
    run = subprocess.run(
        [sys.executable, "-c", show], capture_output=True, text=True, check=True, timeout=30
    )
    assert run.stdout.split() == ["imfast.__main__"]


@pytest.mark.parametrize("delay_s", DELAYS_S)
async def test_worker_told_to_stop_while_it_starts_exits_with_zero(
    directory: Path, delay_s: float
) -> None:
    async with Server(directory) as server:
        first = server.worker(0).pid
        server.kill_worker(0)

        def successor() -> int | None:
            started = [line["pid"] for line in server.lines("worker_started")]
            return started[-1] if len(started) > len(server.ready.workers) else None

        pid = await until(successor, "its successor")
        assert pid != first
        await asyncio.sleep(delay_s)  # when the signal comes is what is tested
        os.kill(pid, signal.SIGTERM)
        await until(lambda: len(server.lines("worker_died")) == 2, "its exit")
        killed, told = server.lines("worker_died")
        assert (killed["status"], told["status"]) == (-signal.SIGKILL, 0)
        await server.restarted()


async def test_worker_told_to_stop_without_a_descriptor_left_exits_in_order(
    directory: Path,
) -> None:
    async with Server(directory, workers=1) as server:
        async with await PlainClient.connect(server, "alice") as alice:
            await alice.send({"user": "bob"}, "k", 1)
            await server.status()  # whose modules are loaded when clients are served already
            for pid in (server.worker(0).pid, server.ready.pid):
                leave_descriptors(pid, 0)
            assert await server.stop() == 0
        text = server.log.read_text()
        assert "Traceback" not in text, text
        assert not server.lines("worker_died")
        assert not server.lines("fault")
