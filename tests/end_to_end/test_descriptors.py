"""A worker without a descriptor left: nothing spins, who is in is served, the others come later."""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.deadline import until
from tests.support.descriptors import leave_descriptors, restore_descriptors
from tests.support.plain_client import PlainClient
from tests.support.server import Server

# Of one second, while nothing can be accepted. A listener that is polled takes all of it.
BUSY_SHARE_MAX = 0.3
CLIENTS = 12


def busy_seconds(pid: int) -> float:
    """Processor time that a process has used: utime and stime of proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def busy_share(pid: int) -> float:
    """The share of a processor that a process takes during the next second."""
    loop = asyncio.get_running_loop()
    began, used = loop.time(), busy_seconds(pid)
    await asyncio.sleep(1.0)  # what is measured is a rate
    return (busy_seconds(pid) - used) / (loop.time() - began)


async def check_crowd(server: Server, room: int) -> None:
    """More clients than there is room: `room` are served, the others once those went."""
    [worker] = server.ready.workers
    await server.token("crowd")

    async def come(number: int) -> PlainClient:
        return await PlainClient.connect(server, "crowd", device=f"d{number}")

    async with AsyncExitStack() as stack:
        tasks = [asyncio.create_task(come(number)) for number in range(CLIENTS)]
        for task in tasks:
            stack.callback(task.cancel)
        await until(lambda: sum(task.done() for task in tasks) >= room, f"{room} clients")
        share = await busy_share(worker.pid)
        inside = [task for task in tasks if task.done()]
        assert len(inside) == room, "no more than there is room for"
        assert share <= BUSY_SHARE_MAX, f"{share:.0%} of a processor while {room} are connected"
        clients = [await task for task in inside]
        for number, client in enumerate(clients):
            sent = await client.send({"user": "somebody"}, f"{room} {number}", number, timeout=2)
            assert not sent["duplicate"]
        for client in clients:
            await client.close()
        waiting = [task for task in tasks if task not in inside]
        for number, client in enumerate(await asyncio.wait_for(asyncio.gather(*waiting), 10)):
            assert await client.send({"user": "somebody"}, f"late {room} {number}", number)
            await client.close()
        assert server.read_ready() == server.ready, "no worker was replaced"


async def test_worker_out_of_descriptors_rests_and_goes_on(directory: Path) -> None:
    async with Server(directory, workers=1) as server:
        [worker] = server.ready.workers
        leave_descriptors(worker.pid, CLIENTS // 2)
        await check_crowd(server, CLIENTS // 2)


async def test_worker_with_as_many_connections_as_it_may_have_rests_and_goes_on(
    directory: Path,
) -> None:
    room = str(CLIENTS // 2)
    flags = ("--connections-max", room, "--unauthenticated-max", room)
    async with Server(directory, *flags, workers=1) as server:
        await check_crowd(server, CLIENTS // 2)


async def test_limit_of_open_files_bounds_connections(directory: Path) -> None:
    """What the limit does not leave is refused at the start, not found out under load."""
    prefix = ["prlimit", "--nofile=600:600", "--"]
    async with Server(directory, workers=1, prefix=prefix) as server:
        [worker] = server.ready.workers
        limits = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        assert limits == (600, 600)
        async with await PlainClient.connect(server, "alice") as alice:
            assert (await alice.send({"user": "bob"}, "k", 1))["seq"] == 1
    refused = Server(directory / "refused", "--connections-max", "600", workers=1, prefix=prefix)
    process = refused.spawn()
    assert await until(lambda: process.poll(), "its exit") != 0
    assert "connections_max" in refused.log.read_text()


async def test_link_that_cannot_be_accepted_for_want_of_descriptors_waits(directory: Path) -> None:
    """A sibling dials: it has to wait, and the worker must not spin over it meanwhile."""
    async with Server(directory) as server, AsyncExitStack() as stack:
        first, second = server.ready.workers
        await server.token("alice")
        leave_descriptors(first.pid, 0)
        alice = await stack.enter_async_context(await connect_at_once(server, "alice"))
        assert alice.server == second.server
        # Her catch-up asks all partitions: the second worker has dialled the first by now.
        share = await busy_share(first.pid)
        assert share <= BUSY_SHARE_MAX, f"{share:.0%} of a processor while a link waits"
        assert not alice.caught_up.is_set(), "half of the partitions cannot be asked"
        restore_descriptors(first.pid)
        await alice.wait(alice.caught_up.is_set, "the rest of the catch-up", timeout=5)


async def connect_at_once(server: Server, user: str) -> PlainClient:
    """Connect to a worker that accepts; the kernel sends some of the attempts to one that rests."""
    for _ in range(64):
        try:
            return await asyncio.wait_for(PlainClient.connect(server, user), 1.0)
        except TimeoutError:
            continue
    raise AssertionError("64 connections in a row were not accepted")
