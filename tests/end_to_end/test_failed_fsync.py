"""A disk that fails to sync one partition: that one stops, the others serve.

The error is the kernel's own EIO, put into one thread's fdatasync of one file by strace. What the
disk then holds is not known to anybody: only a new opening, which reads and verifies, may tell.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.attach import Attached, require_attach
from tests.support.deadline import until
from tests.support.plain_client import Frame, PlainClient
from tests.support.server import Server
from tests.support.talk import Talk, retry_until_stored, settled
from tests.support.traffic import histories_of

# Two for each worker.
PARTITIONS = 4
VICTIM = 0


@pytest.fixture
def server(directory: Path) -> Server:
    require_attach("what a failed fdatasync does")
    return Server(directory, "--partitions", str(PARTITIONS))


def segment_of(server: Server) -> Path:
    """The file that the victim's log is written to."""
    segments = sorted((server.data / "partitions" / str(VICTIM)).glob("*.log"))
    return segments[-1]


def owner_pid(server: Server) -> int:
    return next(one.pid for one in server.ready.workers if VICTIM in one.partitions)


async def test_failed_sync_stops_its_partition_until_that_is_opened_again(server: Server) -> None:
    async with AsyncExitStack() as stack:
        talk = await Talk.start(server, stack, PARTITIONS)
        [epoch] = openings(server)
        fault = "inject=fdatasync:error=EIO:when=1"
        options = ("-P", str(segment_of(server)), "-e", "trace=fdatasync", "-e", fault)
        output = server.directory / "eio.txt"
        async with Attached(owner_pid(server), output, *options):
            attempts = talk.post_to_all("while the disk fails")
            await talk.check_others(attempts, VICTIM)
            await settled(attempts[VICTIM], timeout=2.0)
            failed = [one for one in attempts[VICTIM] if one.error is not None]
            assert failed, "nobody was told of the failure"
            assert {one.error["name"] for one in failed if one.error} <= {
                "outcome_unknown",
                "partition_unavailable",
            }
            assert all(one.error["retryable"] for one in failed if one.error)

            # It is still closed: an answer at once, and nothing is taken.
            closed = talk.post_to_all("while it is closed")
            await talk.check_others(closed, VICTIM)
            await settled(closed[VICTIM], timeout=2.0)
            assert all(one.error is not None for one in closed[VICTIM])
        assert "(INJECTED)" in output.read_text()

        for one in (*attempts[VICTIM], *closed[VICTIM]):
            sent = await retry_until_stored(talk, one)
            again = await retry_until_stored(talk, one)
            assert again == {**sent, "duplicate": True}
            one.sent, one.error = {**sent, "duplicate": False}, None
        assert openings(server) == [epoch, epoch + 1], "opened again, once, as a new epoch"
        await talk.check_others(talk.post_to_all("afterwards"), VICTIM)
        await until(lambda: talk.ledger.in_flight == 0, "all replies")
        await talk.check()
        assert server.read_ready() == server.ready, "no worker was replaced"

        await server.kill_all()
        await server.start()
        async with await PlainClient.connect(server, "alice") as again_alice:
            talk.ledger.check(await histories_of([again_alice]))


async def test_partition_that_cannot_be_opened_again_does_not_disturb_the_others(
    server: Server,
) -> None:
    """The disk fails to read as well: opening is tried until it works."""
    async with AsyncExitStack() as stack:
        talk = await Talk.start(server, stack, PARTITIONS)
        faults = ("-e", "inject=fdatasync:error=EIO:when=1", "-e", "inject=openat:error=EIO")
        options = ("-P", str(segment_of(server)), "-e", "trace=fdatasync,openat", *faults)
        async with Attached(owner_pid(server), server.directory / "eio.txt", *options):
            attempts = talk.post_to_all("while the disk fails")
            await talk.check_others(attempts, VICTIM)

            rounds = 0
            async with asyncio.timeout(20):
                while len(events(server, "partition stays closed")) < 2:
                    # Also those who ask for the closed partition by a link must not break it
                    # for the others.
                    more = talk.post_to_all("while it cannot be opened")
                    await talk.check_others(more, VICTIM)
                    await settled(more[VICTIM], timeout=2.0)
                    assert all(one.error is not None for one in more[VICTIM])
                    attempts[VICTIM] += more[VICTIM]
                    rounds += 1
                    await talk.alice.request("ping", {})
            assert rounds > 10
        await settled(attempts[VICTIM])
        for one in attempts[VICTIM][:4]:
            sent = await retry_until_stored(talk, one)
            one.sent, one.error = {**sent, "duplicate": False}, None
        await talk.check()
        assert server.read_ready() == server.ready, "no worker was replaced"


def events(server: Server, name: str) -> list[Frame]:
    """The server's log lines of that name about the victim."""
    lines = [line for line in server.log.read_text().splitlines() if line.startswith("{")]
    found = [json.loads(line) for line in lines if f'"{name}"' in line]
    return [line for line in found if line["partition"] == VICTIM]


def openings(server: Server) -> list[int]:
    """The epochs in which the victim was opened."""
    names = ("partition open", "partition open again")
    return [line["epoch"] for name in names for line in events(server, name)]
