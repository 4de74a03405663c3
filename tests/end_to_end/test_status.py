"""What operators read in `/v1/status`."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.plain_client import PlainClient
from tests.support.raw_session import TRANSPORTS, RawSession
from tests.support.server import ROOT, Server

SENT = 20
LIMITS = ("--connection-rate", "10", "--rate-burst-s", "3s", "--address-rate", "1")
STALLED_BOUNDS = ("--socket-unsent-bytes", "16KiB", "--send-queue-bytes", "160KiB")
RECEIVE_BYTES = 4096
BODY = "x" * 8192
UPGRADES_REFUSED = 12


async def counters(server: Server) -> Counter[str]:
    """Those of all workers."""
    total: Counter[str] = Counter()
    for worker in (await server.status())["workers"]:
        total.update(worker["counters"])
    return total


async def test_status_tells_sessions_by_transport_and_how_long_commits_take(
    directory: Path,
) -> None:
    async with Server(directory) as server, AsyncExitStack() as stack:
        sessions = [
            await stack.enter_async_context(await RawSession.connect(server, transport, "alice"))
            for transport in TRANSPORTS
        ]
        await stack.enter_async_context(await RawSession.open(server, "json"))
        for number in range(SENT):
            message = {"send": {"to": {"user": f"user{number}"}, "text": "hi"}}
            assert "sent" in await sessions[number % 3].request(100 + number, message)
        now = await counters(server)
        by_transport = {
            name: now[name] for name in ("websocket_json", "websocket_proto", "tcp", "connections")
        }
        assert by_transport == {
            "websocket_json": 1,
            "websocket_proto": 1,
            "tcp": 1,
            "connections": 4,
        }
        assert now["without_session"] == 1
        assert now["commands"] == SENT
        for worker in (await server.status())["workers"]:
            commits = worker["counters"]["commits"]
            assert worker["commit"]["count"] == commits > 0
            assert worker["tick"]["count"] > worker["commit"]["count"]
            for what in ("commit", "tick"):
                found = worker[what]
                assert 0 < found["p50_us"] <= found["p99_us"] <= found["max_us"]


async def test_status_counts_what_was_refused_for_a_rate(directory: Path) -> None:
    arguments = (*LIMITS, "--address-trusted", "none")
    async with Server(directory, *arguments, workers=1) as server:
        async with await RawSession.connect(server, "json", "alice") as alice:
            pings = ({"id": number, "ping": {}} for number in range(1, 101))
            alice.write(*map(alice.encode, pings))
            answers = [await alice.answer(number) for number in range(1, 101)]
            refused = sum("error" in answer for answer in answers)
            assert refused > 0
            assert (await counters(server))["rate_limited"] == refused
        opened = [
            await asyncio.open_connection("127.0.0.1", server.ready.tcp)
            for _ in range(UPGRADES_REFUSED)
        ]

        async def counted() -> bool:
            return (await counters(server))["arrivals_refused"] > 0

        async with asyncio.timeout(10):
            while not await counted():
                pass
        for _, writer in opened:
            writer.close()


async def test_status_counts_what_stalled_readers_cost_them(directory: Path) -> None:
    async with Server(directory, *STALLED_BOUNDS, workers=1) as server, AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(await PlainClient.connect(server, "publisher"))
        stalled = await PlainClient.connect(server, "stalled", receive_bytes=RECEIVE_BYTES)
        await stack.enter_async_context(stalled)
        stalled.stall()
        to = {"user": "stalled"}
        for number in range(100):
            await publisher.request("send", {"to": to, "json": [number, BODY], "ephemeral": True})
        now = await counters(server)
        assert now["ephemeral_replaced"] > 0
        assert now["slow_consumers"] == 0
        for number in range(100):
            await publisher.send(to, f"key-{number}", BODY)
        now = await counters(server)
        assert now["slow_consumers"] == now["send_queue_full"] == 1


async def test_worker_that_stands_still_does_not_keep_the_status(directory: Path) -> None:
    async with Server(directory) as server:
        await server.status()
        server.pause(0)
        try:
            status = await asyncio.wait_for(server.status(), 2)
        finally:
            server.resume(0)
        assert [worker["state"] for worker in status["workers"]] == ["ready", "ready"]
        assert status["workers"][0]["counters"], "what it told before"


async def test_every_counter_is_in_the_documents_and_no_other(shared: Server) -> None:
    [first, *_] = (await shared.status())["workers"]
    table = (ROOT / "docs" / "status.md").read_text().partition("## `counters`")[2]
    lines = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = [name for line in lines for name in re.findall(r"`(\w+)`", line)]
    assert sorted(documented) == sorted(first["counters"])
