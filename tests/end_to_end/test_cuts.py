"""Sessions that are cut at any byte, any number of times: the view at the end is the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.cutting import Cutter, View
from tests.support.ledger import without_order
from tests.support.plain_client import Frame, PlainClient
from tests.support.seeds import seeded_random
from tests.support.server import Server

# Pages of a few rows: a cut falls between pages, too.
SMALL_PAGES = ("--catch-up-page-rows", "3", "--partitions", "2", "--checkpoint-s", "250ms")
GROUPS = 3
MISSED = 12
CUTS_EACH = 150
CHAINS = 12
CUTS_A_CHAIN = 12
MANY, MISSED_EACH = 200, 50
CUT_BYTES = 500_000


@dataclass
class Scene:
    server: Server
    alice: PlainClient
    groups: list[str]

    async def say(self, count: int, text: str) -> None:
        """Sends to all groups and to bob in turn."""
        for number in range(count):
            targets = [{"group": group} for group in self.groups] + [{"user": "bob"}]
            to = targets[number % len(targets)]
            await self.alice.send(to, f"{text} {number}", f"{text} {number}")

    async def history(self) -> dict[str, list[Frame]]:
        """Everything that bob must have seen."""
        async with await PlainClient.connect(self.server, "bob", device="reader") as reader:
            return {one: await reader.history(one) for one in await reader.conversations()}


@asynccontextmanager
async def scene(directory: Path) -> AsyncIterator[Scene]:
    async with (
        Server(directory, *SMALL_PAGES) as server,
        await PlainClient.connect(server, "alice") as alice,
    ):
        groups = [await alice.create_group(f"g{number}", "bob") for number in range(GROUPS)]
        yield Scene(server, alice, groups)


def check(view: View, history: dict[str, list[Frame]], what: object) -> None:
    seen = {name: [without_order(row) for row in rows] for name, rows in view.rows.items()}
    wanted = {name: [without_order(row) for row in rows] for name, rows in history.items()}
    assert seen == wanted, what


async def test_one_cut_at_any_byte_of_a_catch_up_changes_nothing(directory: Path) -> None:
    fate = seeded_random("one cut")
    async with (
        scene(directory) as here,
        Cutter(here.server, await here.server.token("bob")) as cutter,
    ):
        start = View()
        await cutter.session(start, None)
        # A new device begins with now: what was before is in no push, and in the history.
        start.rows = await here.history()
        await here.say(MISSED, "missed")
        history = await here.history()
        whole = start.copy()
        size, caught_up = await cutter.session(whole, None)
        assert caught_up
        check(whole, history, "uncut")
        cuts = fate.sample(range(1, size), min(CUTS_EACH, size - 1))
        for cut in cuts:
            view = start.copy()
            await cutter.session(view, cut)
            assert (await cutter.session(view, None))[1]
            check(view, history, f"cut after {cut} of {size} bytes")


async def test_many_cuts_amid_live_traffic_change_nothing(directory: Path) -> None:
    fate = seeded_random("many cuts")
    async with (
        scene(directory) as here,
        Cutter(here.server, await here.server.token("bob")) as cutter,
    ):
        start = View()
        await cutter.session(start, None)
        start.rows = await here.history()
        for chain in range(CHAINS):
            talking = asyncio.create_task(here.say(MISSED, f"chain {chain}"))
            view = start.copy()
            cuts = [fate.randrange(200, 6000) for _ in range(CUTS_A_CHAIN)]
            for cut in cuts:
                await cutter.session(view, cut)
            await talking
            assert (await cutter.session(view, None))[1]
            check(view, await here.history(), f"chain {chain}: {cuts}")
            start = view


async def test_return_after_ten_thousand_messages_amid_live_traffic(directory: Path) -> None:
    async with (
        Server(directory) as server,
        await PlainClient.connect(server, "alice") as alice,
        Cutter(server, await server.token("bob")) as cutter,
    ):
        view = View()
        await cutter.session(view, None)
        creates = [
            ("group", {"create": {"key": f"g{n}", "title": "g", "members": ["bob"]}})
            for n in range(MANY)
        ]
        groups = [(await reply)["group"]["conversation"] for reply in alice.post_all(*creates)]
        for turn in range(MISSED_EACH):
            await say_to_all(alice, groups, f"missed {turn}")
        live = asyncio.create_task(say_to_all(alice, groups, "live 1"))
        _, caught_up = await cutter.session(view, CUT_BYTES)
        assert not caught_up
        assert sum(map(len, view.rows.values())) > MISSED_EACH
        size, caught_up = await cutter.session(view, None)
        assert caught_up
        await live
        await say_to_all(alice, groups, "live 2")
        again, caught_up = await cutter.session(view, None)
        assert caught_up
        assert again < size / 2, "what was caught up does not come again"
        async with await PlainClient.connect(server, "bob", device="reader") as reader:
            history = {one: await reader.history(one, page=100) for one in groups}
        check(view, history, "10,000 missed")
        assert sum(map(len, history.values())) == MANY * (1 + MISSED_EACH + 2)


async def say_to_all(alice: PlainClient, groups: list[str], text: str) -> None:
    """Sends to every group at once."""
    sends = [("send", {"to": {"group": group}, "key": f"{text}", "json": text}) for group in groups]
    for reply in alice.post_all(*sends):
        assert "sent" in await reply


async def test_device_that_is_new_begins_with_now_and_lists_what_was(directory: Path) -> None:
    async with scene(directory) as here:
        await here.say(MISSED, "before")
        async with await PlainClient.connect(here.server, "bob", device="new") as bob:
            await bob.wait(bob.caught_up.is_set, "caughtUp")
            assert bob.rows() == [], "nothing from before is pushed"
            listed = await bob.conversations()
            assert set(here.groups) < set(listed)
            assert len(listed) == GROUPS + 1
            await here.say(GROUPS + 1, "after")
            for conversation in listed:
                await bob.wait_rows(conversation, 1)
