"""Who is online, as others see it, on whichever workers they are."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from imfast.client import IMFast, Options, Presence, connect
from tests.support.deadline import until
from tests.support.plain_client import PlainClient, RefusedError
from tests.support.server import Server


def statuses(client: PlainClient, user: str) -> list[str]:
    """What a client was pushed about a user, in its order."""
    pushed = [push["presence"]["items"] for push in client.pushes if "presence" in push]
    return [item["status"] for items in pushed for item in items if item["user"] == user]


async def last_is(client: PlainClient, user: str, status: str) -> None:
    await until(
        lambda: statuses(client, user)[-1:] == [status],
        f"{user} {status}, not {statuses(client, user)}",
        timeout=15,
    )


async def watch(client: PlainClient, *users: str) -> None:
    await client.request("presence", {"subscribe": {"users": list(users)}})


async def test_watcher_is_told_of_every_change_on_any_worker(shared: Server) -> None:
    users = [f"p-{number}" for number in range(6)]
    async with (
        await PlainClient.connect(shared, "p-watch-0", worker=0) as one,
        await PlainClient.connect(shared, "p-watch-1", worker=1) as other,
    ):
        for watcher in (one, other):
            await watch(watcher, *users)
            for user in users:
                await last_is(watcher, user, "offline")
        async with AsyncExitStack() as stack:
            clients = []
            for number, user in enumerate(users):
                client = await PlainClient.connect(shared, user, worker=number % 2)
                clients.append(await stack.enter_async_context(client))
            for watcher in (one, other):
                for user in users:
                    await last_is(watcher, user, "online")
            for client in clients:
                await client.request("presence", {"set": {"status": "away"}})
            for watcher in (one, other):
                for user in users:
                    await last_is(watcher, user, "away")
            # The best of all sessions counts.
            second = await PlainClient.connect(shared, users[0], worker=1)
            await last_is(one, users[0], "online")
            await second.close()
            await last_is(one, users[0], "away")
            await one.request("presence", {"unsubscribe": {"users": users[1:]}})
        for user in users:
            await last_is(other, user, "offline")
        await last_is(one, users[0], "offline")
        assert all(statuses(one, user)[-1] == "away" for user in users[1:])
        [seen] = [
            item["lastSeenMs"]
            for push in one.pushes[-1:]
            for item in push.get("presence", {}).get("items", [])
        ]
        now_ms = (await one.request("ping", {}))["pong"]["serverTimeMs"]
        assert 0 <= now_ms - seen < 60_000


async def test_one_watches_so_many_users_and_no_more(shared: Server) -> None:
    async with await PlainClient.connect(shared, "pw-many") as client:
        await watch(client, *(f"pw-{number}" for number in range(200)))
        with pytest.raises(RefusedError) as refused:
            await watch(client, "pw-one-more")
        assert refused.value.name == "invalid_argument"
        with pytest.raises(RefusedError):
            await client.request("presence", {"set": {"status": "dancing"}})
        with pytest.raises(RefusedError):
            await client.request("presence", {})


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
async def test_client_of_the_package_watches(shared: Server, scheme: str) -> None:
    options = Options(protobuf=True)
    names = [f"pc-{scheme}-{name}" for name in ("alice", "bob")]
    tokens = [await shared.token(name) for name in names]
    url = shared.url(scheme)

    async def next_of(im: IMFast) -> Presence:
        return await asyncio.wait_for(anext(im.presence), 15)

    async with connect(url, token=tokens[0], options=options) as alice:
        await alice.watch([names[1]])
        assert await next_of(alice) == Presence(names[1], "offline")
        async with connect(url, token=tokens[1], options=options) as bob:
            assert await next_of(alice) == Presence(names[1], "online")
            await bob.set_presence("away")
            assert await next_of(alice) == Presence(names[1], "away")
        gone = await next_of(alice)
        assert (gone.status, gone.last_seen_ms > 0) == ("offline", True)


async def test_users_of_a_worker_that_died_are_gone_and_a_new_owner_is_told_who_is_there(
    directory: Path,
) -> None:
    async with Server(directory) as server:
        users = [f"user-{number}" for number in range(8)]
        async with AsyncExitStack() as stack:

            async def client(user: str, worker: int) -> PlainClient:
                opened = await PlainClient.connect(server, user, worker=worker)
                return await stack.enter_async_context(opened)

            watcher = await client("watcher", 0)
            stays = [await client(user, 0) for user in users[:4]]
            for user in users[4:]:
                await client(user, 1)
            await watch(watcher, *users)
            for user in users:
                await last_is(watcher, user, "online")
            server.kill_worker(1)
            for user in users[4:]:
                await last_is(watcher, user, "offline")
            await server.restarted()
            back: list[Any] = [await client(user, 1) for user in users[4:]]
            for user in users:
                await last_is(watcher, user, "online")
            assert len(stays) == len(back)
            for user in users[:4]:
                assert "offline" not in statuses(watcher, user)[1:]
