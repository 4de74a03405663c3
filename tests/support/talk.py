"""Two users with a group in every partition, to see which partitions serve and which do not."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack

from tests.support.deadline import until
from tests.support.ledger import Attempt, Ledger
from tests.support.plain_client import Frame, PlainClient
from tests.support.server import Server
from tests.support.traffic import histories_of

__all__ = ["Talk", "retry_until_stored", "settled"]


class Talk:
    """Two users, one on each worker, with a group in every partition."""

    def __init__(self, server: Server, alice: PlainClient, bob: PlainClient) -> None:
        self.server = server
        self.alice = alice
        self.bob = bob
        self.ledger = Ledger()
        self.groups: dict[int, str] = {}

    @classmethod
    async def start(cls, server: Server, stack: AsyncExitStack, partitions: int) -> Talk:
        """Start the server and connect both."""
        await stack.enter_async_context(server)
        users = [
            await stack.enter_async_context(await PlainClient.connect(server, user, worker=index))
            for index, user in enumerate(("alice", "bob"))
        ]
        talk = cls(server, *users)
        await talk.make_groups(partitions)
        return talk

    async def make_groups(self, partitions: int) -> None:
        for number in range(256):
            group = await self.alice.create_group(f"group {number}", self.bob.user)
            attempt = self.ledger.post(self.alice, {"group": group}, "which partition?")
            await settled([attempt])
            assert attempt.sent is not None
            partition = int(attempt.sent["position"].partition("-")[0])
            self.groups.setdefault(partition, group)
            if len(self.groups) == partitions:
                return
        raise AssertionError(f"256 groups are in {len(self.groups)} partitions only")

    def post_to_all(self, text: str) -> dict[int, list[Attempt]]:
        """Both users send to every partition; return the attempts by partition."""
        attempts = defaultdict(list)
        for partition, group in self.groups.items():
            for client in (self.alice, self.bob):
                attempts[partition].append(self.ledger.post(client, {"group": group}, text))
        return attempts

    async def check_others(self, attempts: dict[int, list[Attempt]], victim: int) -> None:
        """The partitions that did not fail have stored theirs without waiting."""
        others = [one for number, some in attempts.items() if number != victim for one in some]
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
