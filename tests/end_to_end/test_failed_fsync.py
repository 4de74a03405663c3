"""A disk that fails to sync one partition: that one stops, the others serve.

The error is the kernel's own EIO, put into one thread's fdatasync of one file by strace. What the
disk then holds is not known to anybody: only a new opening, which reads and verifies, may tell.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.attach import Attached, require_attach
from tests.support.deadline import until
from tests.support.ledger import Attempt, Ledger
from tests.support.plain_client import Frame, PlainClient
from tests.support.server import Server
from tests.support.traffic import histories_of

# Two for each worker.
PARTITIONS = 4
VICTIM = 0


class Talk:
    """Two users, one on each worker, with a group in every partition."""

    def __init__(self, server: Server, alice: PlainClient, bob: PlainClient) -> None:
        self.server = server
        self.alice = alice
        self.bob = bob
        self.ledger = Ledger()
        self.groups: dict[int, str] = {}

    async def make_groups(self) -> None:
        for number in range(256):
            group = await self.alice.create_group(f"group {number}", self.bob.user)
            attempt = self.ledger.post(self.alice, {"group": group}, "which partition?")
            await settled([attempt])
            assert attempt.sent is not None
            partition = int(attempt.sent["position"].partition("-")[0])
            self.groups.setdefault(partition, group)
            if len(self.groups) == PARTITIONS:
                return
        raise AssertionError(f"256 groups are in {len(self.groups)} partitions only")

    def post_to_all(self, text: str) -> dict[int, list[Attempt]]:
        """Both users send to every partition; return the attempts by partition."""
        attempts = defaultdict(list)
        for partition, group in self.groups.items():
            for client in (self.alice, self.bob):
                attempts[partition].append(self.ledger.post(client, {"group": group}, text))
        return attempts

    async def check_others(self, attempts: dict[int, list[Attempt]]) -> None:
        """The partitions that did not fail have stored theirs without waiting."""
        others = [one for number, some in attempts.items() if number != VICTIM for one in some]
        await settled(others, timeout=2.0)
        assert all(one.sent is not None for one in others), [one.error for one in others]

    async def check(self) -> None:
        """Everything is there once and everybody saw it."""
        histories = await histories_of([self.alice, self.bob])
        self.ledger.check(histories)
        for group in self.groups.values():
            for client in (self.alice, self.bob):
                await client.wait_rows(group, len(histories[group]), timeout=5)


async def settled(attempts: list[Attempt], *, timeout: float = 15.0) -> None:
    """Wait until each has a reply, of whatever kind."""
    await until(
        lambda: all(one.sent or one.error for one in attempts), "all replies", timeout=timeout
    )


async def retry_until_stored(talk: Talk, attempt: Attempt) -> Frame:
    """Send again with the same key until it works: every refusal says that it may."""
    client = talk.alice if attempt.sender == talk.alice.user else talk.bob
    body = {"to": attempt.to, "key": attempt.key, "json": attempt.content}
    async with asyncio.timeout(20):
        while True:
            reply = await client.post("send", body)
            if "sent" in reply:
                return reply["sent"]
            assert reply["error"]["retryable"], reply
            await asyncio.sleep(reply["error"].get("retryAfterMs", 50) / 1000)


@pytest.fixture
def server(directory: Path) -> Server:
    require_attach("what a failed fdatasync does")
    return Server(directory, "--partitions", str(PARTITIONS))


def segment_of(server: Server) -> Path:
    """The file that the victim's log is written to."""
    segments = sorted((server.data / "partitions" / str(VICTIM)).glob("*.log"))
    return segments[-1]


async def start(server: Server, stack: AsyncExitStack) -> Talk:
    await stack.enter_async_context(server)
    users = [
        await stack.enter_async_context(await PlainClient.connect(server, user, worker=index))
        for index, user in enumerate(("alice", "bob"))
    ]
    talk = Talk(server, *users)
    await talk.make_groups()
    return talk


def owner_pid(server: Server) -> int:
    return next(one.pid for one in server.ready.workers if VICTIM in one.partitions)


async def test_failed_sync_stops_its_partition_until_that_is_opened_again(server: Server) -> None:
    async with AsyncExitStack() as stack:
        talk = await start(server, stack)
        [epoch] = openings(server)
        fault = "inject=fdatasync:error=EIO:when=1"
        options = ("-P", str(segment_of(server)), "-e", "trace=fdatasync", "-e", fault)
        output = server.directory / "eio.txt"
        async with Attached(owner_pid(server), output, *options):
            attempts = talk.post_to_all("while the disk fails")
            await talk.check_others(attempts)
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
            await talk.check_others(closed)
            await settled(closed[VICTIM], timeout=2.0)
            assert all(one.error is not None for one in closed[VICTIM])
        assert "(INJECTED)" in output.read_text()

        for one in (*attempts[VICTIM], *closed[VICTIM]):
            sent = await retry_until_stored(talk, one)
            again = await retry_until_stored(talk, one)
            assert again == {**sent, "duplicate": True}
            one.sent, one.error = {**sent, "duplicate": False}, None
        assert openings(server) == [epoch, epoch + 1], "opened again, once, as a new epoch"
        await talk.check_others(talk.post_to_all("afterwards"))
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
        talk = await start(server, stack)
        faults = ("-e", "inject=fdatasync:error=EIO:when=1", "-e", "inject=openat:error=EIO")
        options = ("-P", str(segment_of(server)), "-e", "trace=fdatasync,openat", *faults)
        async with Attached(owner_pid(server), server.directory / "eio.txt", *options):
            attempts = talk.post_to_all("while the disk fails")
            await talk.check_others(attempts)

            rounds = 0
            async with asyncio.timeout(20):
                while len(events(server, "partition stays closed")) < 2:
                    # Also those who ask for the closed partition by a link must not break it
                    # for the others.
                    more = talk.post_to_all("while it cannot be opened")
                    await talk.check_others(more)
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
