"""One session in each seat: the newer takes over, the older is told and serves nothing any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from imfast.client import KickedError, Options, connect
from tests.support.deadline import until
from tests.support.plain_client import DisconnectedError, PlainClient
from tests.support.server import Server

REPLACED = 4504


async def kicked(client: PlainClient) -> None:
    await asyncio.wait_for(client.closed.wait(), 15)
    assert client.pushes[-1] == {"kicked": {"reason": "session_replaced"}}
    assert client.close_code == REPLACED


# The partitions of these users' names are spread over both workers, which own them in turn.
@pytest.mark.parametrize("user", ["os-a", "os-b", "os-c", "os-d"])
@pytest.mark.parametrize("workers", [(0, 0), (0, 1), (1, 0)])
async def test_newer_session_of_a_device_ends_the_older_on_any_worker(
    shared: Server, user: str, workers: tuple[int, int]
) -> None:
    older, newer = workers
    name = f"{user}-{older}{newer}"
    async with await PlainClient.connect(shared, name, worker=older, device="phone") as first:
        await first.send({"user": "os-peer"}, "hello", "k")
        async with (
            await PlainClient.connect(shared, name, worker=newer, device="phone") as second,
            await PlainClient.connect(shared, name, device="tablet") as other,
        ):
            # It was fenced before the newer one heard that it is connected.
            with pytest.raises(DisconnectedError):
                await first.send({"user": "os-peer"}, "too late", "k2")
            await kicked(first)
            sent = await second.send({"user": "os-peer"}, "hello", "k")
            assert sent["duplicate"], "what the older one sent is there"
            page = await second.request("history", {"conversation": sent["conversation"]})
            assert len(page["history"]["items"]) == 1
            assert not other.closed.is_set()
            assert not second.closed.is_set()


async def test_sessions_that_name_no_device_stand_side_by_side(shared: Server) -> None:
    async with (
        await PlainClient.connect(shared, "os-none", worker=0) as first,
        await PlainClient.connect(shared, "os-none", worker=1) as second,
    ):
        await first.send({"user": "os-peer"}, "from one", "1")
        await until(lambda: len(second.rows()) == 1, "the message on the other session")


async def test_many_connections_of_one_device_at_once_leave_one(shared: Server) -> None:
    clients = await asyncio.gather(
        *(PlainClient.dial(shared, "os-storm") for _ in range(24)),
    )
    token = await shared.token("os-storm")
    try:
        body = {"token": token, "device": "phone"}
        await asyncio.gather(
            *(client.request("connect", body) for client in clients), return_exceptions=True
        )
        open_ones = [client for client in clients if not client.closed.is_set()]
        await until(lambda: sum(not c.closed.is_set() for c in clients) == 1, "one is left")
        [last] = [client for client in open_ones if not client.closed.is_set()]
        assert (await last.send({"user": "os-peer"}, "the last", "k"))["seq"]
    finally:
        await asyncio.gather(*(client.close() for client in clients))


async def test_client_of_the_package_ends_when_it_is_replaced(shared: Server) -> None:
    token = await shared.token("os-package")
    for scheme, options in (("ws", Options()), ("tcp", Options())):
        url = shared.url(scheme)
        device = f"d-{scheme}"
        async with (
            connect(url, token=token, device=device, options=options) as older,
            connect(url, token=token, device=device) as newer,
        ):
            with pytest.raises(KickedError):
                await asyncio.wait_for(anext(older), 15)
            assert await newer.ping() < 15


async def test_policy_has_one_session_for_each_class_of_devices(directory: Path) -> None:
    async with (
        Server(directory, "--device-policy", "class") as server,
        await PlainClient.connect(server, "alice", worker=0, device="web-1") as web,
        await PlainClient.connect(server, "alice", worker=1, device="phone-1") as phone,
        await PlainClient.connect(server, "bob", worker=1, device="web-1") as bob,
        await PlainClient.connect(server, "alice", worker=1, device="web-2") as newer,
    ):
        await kicked(web)
        for client in (phone, bob, newer):
            await client.request("ping", {})


async def test_policy_has_the_newest_session_alone_also_after_an_owner_died(
    directory: Path,
) -> None:
    async with Server(directory, "--device-policy", "newest", workers=2) as server:
        users = [f"user-{number}" for number in range(6)]
        olds = [await PlainClient.connect(server, user, worker=0) for user in users]
        # The seats of some of them were known to this worker alone.
        server.kill_worker(1)
        await server.restarted()
        news = [await PlainClient.connect(server, user, worker=1, device="x") for user in users]
        for old in olds:
            await kicked(old)
        for new in news:
            await new.request("ping", {})
        await asyncio.gather(*(client.close() for client in (*olds, *news)))
