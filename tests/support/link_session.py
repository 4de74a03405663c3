"""A session that makes every kind of frame go over the links, and a check that it went well."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from contextlib import AsyncExitStack
from typing import Self

import jwt

from tests.support.deadline import until
from tests.support.ledger import Attempt, Ledger, check_live_view
from tests.support.plain_client import Frame, PlainClient, body_of
from tests.support.server import Server
from tests.support.traffic import histories_of

__all__ = ["LIMIT_SECONDS", "MEMBERS", "LinkSession"]

# Whatever happens to a link, everything has arrived after this time.
LIMIT_SECONDS = 2.0

# By turns on worker 0 and worker 1.
MEMBERS = ("alice", "bob", "carol", "dan")

_sessions = itertools.count(1)


class LinkSession:
    """Four users who stay, one who joins and leaves, one who comes back again and again.

    Each session has users of its own on the server, called alice, bob, carol, dan, eve and frank
    in here.
    """

    def __init__(self, server: Server, fate: random.Random) -> None:
        self.server = server
        self._number = next(_sessions)
        self.ledger = Ledger()
        self.clients: dict[str, PlainClient] = {}
        # One group owned by each worker.
        self.groups: list[str] = []
        self._fate = fate
        self._rounds = 0
        self._frank_token = ""
        self._stack = AsyncExitStack()
        # By group: the last seq that frank saw.
        self._frank_saw: dict[str, int] = {}
        # Keys of sends → who sees them.
        self._audience: dict[str, tuple[str, ...]] = {}

    async def __aenter__(self) -> Self:
        for index, user in enumerate((*MEMBERS, "eve")):
            client = await self._connect(user, index % 2)
            self.clients[user] = await self._stack.enter_async_context(client)
        for client in self.clients.values():
            async with asyncio.timeout(10):
                await client.caught_up.wait()
        # A device that never acknowledged anything starts from now: from before the groups.
        async with await self._connect("frank", 0) as frank:
            await frank.wait(frank.caught_up.is_set, "the first token")
            self._frank_token = frank.sync
        self.groups = [await self.group_owned_by(owner) for owner in (0, 1)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def group_owned_by(self, worker: int) -> str:
        """Make groups of all members and frank until one is owned by the worker of that index."""
        wanted = self.server.worker(worker).server
        for number in range(64):
            members = [self._name(user) for user in (*MEMBERS[1:], "frank")]
            name = f"group {worker} {number}"
            group = await self.clients["alice"].create_group(name, *members)
            probe = self.post("alice", {"group": group}, "who owns this?")
            assert probe.reply is not None
            await asyncio.wait_for(probe.reply, 10)
            assert probe.sent is not None
            if self.server.ready.owner(probe.sent["position"]) == wanted:
                return group
        raise AssertionError(f"none of 64 groups is owned by {wanted}")

    def post(self, sender: str, to: Frame, text: str = "over a link") -> Attempt:
        """Send without waiting; the receivers are owed it."""
        audience = MEMBERS
        if "user" in to:
            audience = (sender, to["user"])
            to = {"user": self._name(to["user"])}
        attempt = self.ledger.post(self.clients[sender], to, text)
        self._audience[attempt.key] = audience
        return attempt

    def post_some(self, count: int, text: str = "over a link") -> list[Attempt]:
        """Send direct and group messages from both workers to conversations of both."""
        attempts = []
        for _ in range(count):
            sender, receiver = self._fate.sample(MEMBERS, 2)
            group = {"group": self._fate.choice(self.groups)}
            to = {"user": receiver} if self._fate.random() < 0.5 else group
            attempts.append(self.post(sender, to, text))
        return attempts

    async def settle(self, attempts: list[Attempt], what: object) -> None:
        """Every reply and every row arrives in time, the last one too."""
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                for one in attempts:
                    assert one.reply is not None
                    await one.reply
                # The ledger hears of a reply in the loop's next turn.
                await until(lambda: all(one.sent or one.error for one in attempts), "the ledger")
                for one in attempts:
                    if one.sent is not None:
                        for user in self._audience[one.key]:
                            await self._sees(user, one.sent)
        except TimeoutError:
            missing = [
                f"{user} on {self.clients[user].server} lacks {one.key}: {one.sent}"
                for one in attempts
                if one.sent is not None
                for user in self._audience[one.key]
                if not self._has(user, one.sent)
            ]
            unanswered = [one.key for one in attempts if not (one.sent or one.error)]
            raise AssertionError(
                f"{what}: not within {LIMIT_SECONDS} s; without a reply: {unanswered};"
                f" not seen: {missing}"
            ) from None

    async def mixed_round(self, what: object, *, owner: int = 0) -> None:
        """Sends, a joining and a leaving, and a catch-up, all at once; most of it over one link."""
        self._rounds += 1
        group = self.groups[owner]
        attempts = self.post_some(6)
        attempts += [self.post(user, {"group": group}) for user in MEMBERS[1 - owner :: 2] * 3]
        changes = [self._change(group, "add"), self._change(group, "remove")]
        returning = asyncio.create_task(self._return(1 - owner))
        attempts += [self.post(user, {"group": group}) for user in MEMBERS[1 - owner :: 2] * 3]
        attempts += self.post_some(6)
        await self.settle(attempts, what)
        eve = self.clients["eve"]
        async with asyncio.timeout(LIMIT_SECONDS):
            joined, left = [(await change)["group"]["seq"] for change in changes]
        await eve.wait_seq(group, left, timeout=LIMIT_SECONDS)
        async with asyncio.timeout(2 * LIMIT_SECONDS):
            await returning
        seen = [body_of(row)["seq"] for row in eve.rows(group)]
        since = [seq for seq in seen if seq >= joined]
        assert since == list(range(joined, left + 1)), f"{what}: eve saw {since}"

    async def check(self) -> None:
        """Compare all views and all replies with what there is."""
        histories = await histories_of(self.clients[user] for user in MEMBERS)
        self.ledger.check(histories)
        for user in MEMBERS:
            client = self.clients[user]
            assert not client.closed.is_set(), f"{user} was disconnected: {client.close_code}"
            for conversation in await client.conversations():
                history = histories[conversation]
                check_live_view(client, conversation, history)
                if rows := client.rows(conversation):
                    last = body_of(rows[-1])["seq"]
                    assert last == len(history), f"{user}: {last} of {len(history)} rows"

    def _change(self, group: str, action: str) -> asyncio.Future[Frame]:
        key = f"{action} {self._rounds}"
        body = {"conversation": group, "key": key, "users": [self._name("eve")]}
        # The creator is the administrator.
        return self.clients["alice"].post("group", {action: body})

    async def _return(self, worker: int) -> None:
        """Come back with a token, get what was missed, and go again."""
        async with await self._connect("frank", worker, self._frank_token) as frank:
            await frank.wait(frank.caught_up.is_set, "the catch-up", timeout=LIMIT_SECONDS + 1)
            for group in self.groups:
                seqs = [body_of(row)["seq"] for row in frank.rows(group)]
                if seqs:
                    assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), seqs
                    assert seqs[0] <= self._frank_saw.get(group, 0) + 1, "a hole after his return"
                    self._frank_saw[group] = seqs[-1]
            self._frank_token = frank.sync

    def _name(self, user: str) -> str:
        return f"{user}-{self._number}"

    async def _connect(self, user: str, worker: int, sync: str = "") -> PlainClient:
        # `imfast token` takes as long as a whole round.
        secret = (self.server.data / "secret.key").read_bytes().strip()
        claims = {"sub": self._name(user), "exp": int(time.time()) + 3600}
        token = jwt.encode(claims, secret, "HS256")
        return await PlainClient.connect(
            self.server, self._name(user), worker=worker, device="d", sync=sync, token=token
        )

    def _has(self, user: str, sent: Frame) -> bool:
        return any(
            body_of(row)["seq"] == sent["seq"]
            for row in reversed(self.clients[user].rows(sent["conversation"]))
        )

    async def _sees(self, user: str, sent: Frame) -> None:
        await self.clients[user].wait(
            lambda: self._has(user, sent), f"row {sent['seq']}", timeout=LIMIT_SECONDS
        )
