"""Six users on two workers who talk without pause."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterable
from contextlib import AsyncExitStack

from tests.support.ledger import Attempt, Ledger
from tests.support.plain_client import Frame, PlainClient
from tests.support.server import Server

__all__ = ["USERS", "Traffic", "connect_everybody", "histories_of", "owned_by_the_other"]

USERS = ("alice", "bob", "carol", "dan", "eve", "frank")

_devices = itertools.count(1)


async def connect_everybody(
    server: Server, stack: AsyncExitStack, sync: dict[str, str] | None = None
) -> dict[str, PlainClient]:
    """Connect every user, by turns to worker 0 and worker 1, each time as another device."""
    await asyncio.gather(*(server.token(user) for user in USERS))
    clients = {}
    for index, user in enumerate(USERS):
        client = await PlainClient.connect(
            server,
            user,
            worker=index % 2,
            device=f"device-{next(_devices)}",
            sync=(sync or {}).get(user, ""),
        )
        clients[user] = await stack.enter_async_context(client)
    for client in clients.values():
        async with asyncio.timeout(15):
            await client.caught_up.wait()
    servers = {client.server for client in clients.values()}
    assert servers == {worker.server for worker in server.ready.workers}
    return clients


def owned_by_the_other(server: Server, attempts: Iterable[Attempt]) -> float:
    """The share of acknowledged sends whose conversation the sender's worker does not own."""
    own = [
        server.ready.owner(one.sent["position"]) == one.server
        for one in attempts
        if one.sent is not None
    ]
    return own.count(False) / len(own)


async def histories_of(clients: Iterable[PlainClient]) -> dict[str, list[Frame]]:
    """Read every conversation that these users have, page by page."""
    histories: dict[str, list[Frame]] = {}
    for client in clients:
        for conversation in await client.conversations():
            if conversation not in histories:
                histories[conversation] = await client.history(conversation, page=100)
    return histories


class Traffic:
    """Everybody sends direct and group messages and keeps a window of them without answer."""

    WINDOW = 40

    def __init__(
        self,
        ledger: Ledger,
        clients: dict[str, PlainClient],
        groups: list[str],
        fate: random.Random,
    ) -> None:
        """Everybody is in every group."""
        self._ledger = ledger
        self._groups = groups
        self._fate = fate
        self._stopped = False
        self._tasks = [asyncio.create_task(self._talk(client)) for client in clients.values()]

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True

    async def finish(self) -> None:
        """Wait until nothing more is sent."""
        self.stop()
        await asyncio.gather(*self._tasks)

    async def _talk(self, client: PlainClient) -> None:
        others = [user for user in USERS if user != client.user]
        waiting: set[asyncio.Future[Frame]] = set()
        while not self._stopped and not client.closed.is_set():
            while len(waiting) < self.WINDOW:
                to = (
                    {"user": self._fate.choice(others)}
                    if self._fate.random() < 0.5
                    else {"group": self._fate.choice(self._groups)}
                )
                attempt = self._ledger.post(client, to, "under fire")
                assert attempt.reply is not None
                waiting.add(attempt.reply)
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
