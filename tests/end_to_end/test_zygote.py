"""The process that real workers are forked from."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.deadline import until
from tests.support.plain_client import PlainClient
from tests.support.server import Server


def zygote_of(server: Server) -> psutil.Process | None:
    return next((one for one in server.processes() if one.name() == "imfast-zygote"), None)


def has_loaded(process: psutil.Process, name: str) -> bool:
    return any(name in region.path for region in process.memory_maps())


async def test_zygote_has_one_thread_also_when_it_has_loaded_everything(directory: Path) -> None:
    async with Server(directory) as server:
        zygote = zygote_of(server)
        assert zygote is not None
        await until(lambda: has_loaded(zygote, "cryptography"), "the tokens' library")
        assert zygote.num_threads() == 1


async def test_worker_of_a_new_zygote_serves_as_one_of_the_first(directory: Path) -> None:
    async with Server(directory, "--spare-workers", "0") as server:
        async with await PlainClient.connect(server, "alice") as alice:
            sent = await alice.send({"user": "bob"}, "k", 1)
        zygote = zygote_of(server)
        assert zygote is not None
        zygote.kill()
        await until(lambda: bool(server.lines("zygote_died")), "the supervisor's notice")
        for worker in server.ready.workers:
            os.kill(worker.pid, signal.SIGKILL)
        await server.restarted()
        async with await PlainClient.connect(server, "alice") as alice:
            again = await alice.send({"user": "bob"}, "k", 1)
        assert again == sent | {"duplicate": True}


@pytest.mark.parametrize("spares", [0, 2])
async def test_all_workers_killed_at_once_are_replaced_together(
    directory: Path, spares: int
) -> None:
    async with Server(directory, "--spare-workers", str(spares)) as server:
        before = {worker.pid for worker in server.ready.workers}
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        after = await server.restarted()
        assert before.isdisjoint(worker.pid for worker in after.workers)
        async with await PlainClient.connect(server, "alice") as alice:
            await alice.send({"user": "bob"}, "k", 1)
