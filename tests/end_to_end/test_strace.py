"""Seen from the kernel: who touches client sockets, and what comes before an ack."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from tests.support.plain_client import PlainClient
from tests.support.server import Server
from tests.support.strace import Call, parse, require_strace, strace_command
from tests.support.traffic import connect_everybody

READS = frozenset({"read", "readv", "recvfrom", "recvmsg", "recvmmsg"})
WRITES = frozenset({"write", "writev", "sendto", "sendmsg", "sendmmsg"})
FILE_WRITES = frozenset({"write", "writev", "pwrite64", "pwritev", "pwritev2"})
SYNCS = frozenset({"fdatasync", "fsync"})
SENDS = 30


def epoll_sets(pid: int) -> dict[str, set[str]]:
    """What each epoll instance of a process watches, by names such as ``socket:[123]``.

    Read from the kernel's own list (proc(5), fdinfo), however a file came into it.
    """
    names = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            names[link.name] = str(link.readlink())
        except FileNotFoundError:
            continue
    sets = {}
    for number, name in names.items():
        if name == "anon_inode:[eventpoll]":
            info = Path(f"/proc/{pid}/fdinfo/{number}").read_text()
            watched = re.findall(r"^tfd:\s+(\d+)", info, re.MULTILINE)
            sets[number] = {
                # Anonymous inodes share a name: the number tells them apart.
                f"epoll {one}" if names.get(one) == name else names.get(one, "gone")
                for one in watched
            }
    return sets


def client_sockets(pid: int, ports: set[int]) -> set[str]:
    """The connections that clients have to a process, as ``socket:[inode]``."""
    process = psutil.Process(pid)
    numbers = [
        one.fd
        for one in process.net_connections("tcp")
        if one.status == psutil.CONN_ESTABLISHED and one.laddr.port in ports
    ]
    return {str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in numbers}


async def test_client_sockets_are_watched_by_the_engines_own_epoll_alone(directory: Path) -> None:
    """The engine's epoll is nested in the loop's: the loop never sees a client's socket."""
    async with Server(directory) as server, AsyncExitStack() as stack:
        await connect_everybody(server, stack)
        ports = {server.ready.http, server.ready.tcp}
        for worker in server.ready.workers:
            clients = client_sockets(worker.pid, ports)
            assert len(clients) >= 3
            sets = epoll_sets(worker.pid)
            holders = [number for number, watched in sets.items() if watched & clients]
            assert len(holders) == 1, f"client sockets are in several epoll sets: {sets}"
            [engine] = holders
            assert clients <= sets[engine]
            outer = [number for number, watched in sets.items() if f"epoll {engine}" in watched]
            assert len(outer) == 1, f"the engine's epoll is not nested in the loop's: {sets}"


@pytest.fixture
def traced(directory: Path) -> tuple[Server, Path]:
    """A server that runs under strace, and where strace writes."""
    require_strace()
    output = directory / "strace.txt"
    calls = (*READS, *FILE_WRITES, *WRITES, *SYNCS)
    return Server(directory, prefix=strace_command(output, *sorted(set(calls)))), output


@pytest.mark.timeout(120)
async def test_ack_and_delivery_are_written_after_fdatasync_returned(
    traced: tuple[Server, Path],
) -> None:
    server, output = traced
    markers = [f"marker-{number:03}-of-a-durable-send" for number in range(SENDS)]
    async with server, AsyncExitStack() as stack:
        clients = await connect_everybody(server, stack)
        alice, bob = clients["alice"], clients["bob"]
        assert alice.server != bob.server
        for number, marker in enumerate(markers):
            # One at a time, so that each ack has a sync of its own; to and fro, so that both
            # workers answer; to several users, so that both own.
            sender, receiver = (alice, "carol") if number % 2 else (bob, "dan")
            await sender.send({"user": receiver}, f"key-{number}", marker)
        workers = {worker.pid for worker in server.ready.workers}
        ports = (server.ready.http, server.ready.tcp)
        for user, parity in (("carol", 1), ("dan", 0)):
            await wait_for_messages(clients[user], markers[parity::2])

    calls = parse(output.read_text(errors="replace"))
    of_clients = [call for call in calls if is_client_socket(call, ports)]
    readers = {call.thread for call in of_clients if call.name in READS and call.returned > 0}
    assert readers == workers, "client sockets are read by each worker's main thread alone"
    writers = {call.thread for call in of_clients if call.name in WRITES and call.returned > 0}
    assert writers == workers, "client sockets are written by each worker's main thread alone"

    for marker in markers:
        synced = end_of_sync(calls, marker)
        told = [
            call
            for call in of_clients
            if call.name in WRITES and marker in call.arguments and '"message' in plain(call)
        ]
        assert told, f"no client was told of {marker}"
        assert all(call.begun > synced for call in told), f"{marker} was seen before it was durable"
    for sender, parity in ((alice, 1), (bob, 0)):
        # What clients write is masked; their acks come in the order of their sends.
        acks = [
            call
            for call in of_clients
            if call.name in WRITES
            and call.file.endswith(f":{sender.port}]")
            and '"sent"' in plain(call)
        ]
        for ack, marker in zip(acks, markers[parity::2], strict=True):
            synced = end_of_sync(calls, marker)
            assert ack.begun > synced, f"the ack of {marker} was written before fdatasync returned"


async def wait_for_messages(client: PlainClient, markers: list[str]) -> None:
    await client.wait(
        lambda: (
            {row["message"]["json"] for row in client.rows() if "message" in row} >= set(markers)
        ),
        "all messages",
        timeout=30,
    )


def plain(call: Call) -> str:
    """The arguments with the quotes of strings as they were."""
    return call.arguments.replace('\\"', '"')


def is_client_socket(call: Call, ports: tuple[int, ...]) -> bool:
    """Whether it is about a TCP connection to one of the server's ports."""
    return any(re.search(rf"TCP(v6)?:\[[^\]]*:{port}->", call.file) for port in ports)


def end_of_sync(calls: list[Call], marker: str) -> int:
    """Find where the segment file that got the message was synced next: the line of its return."""
    written = next(
        (
            call
            for call in calls
            if call.name in FILE_WRITES
            and call.returned > 0
            and call.file.startswith("/")
            and "/data/" in call.file
            and marker in call.arguments
        ),
        None,
    )
    assert written is not None, f"{marker} was written to no file of the data directory"
    synced = next(
        (
            call
            for call in calls
            if call.name in SYNCS and call.file == written.file and call.begun > written.ended
        ),
        None,
    )
    assert synced is not None, f"{written.file} was not synced after {marker} was written"
    assert synced.returned == 0
    return synced.ended
