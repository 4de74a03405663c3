"""Thousands of connections that say nothing sensible: none of them leaves anything behind.

``IMFAST_GARBAGE_CONNECTIONS=10000`` takes more of them than the default.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.support.deadline import until
from tests.support.plain_client import PlainClient
from tests.support.raw_session import TRANSPORTS, RawSession
from tests.support.seeds import seeded_random
from tests.support.server import Server

CONNECTIONS = int(os.environ.get("IMFAST_GARBAGE_CONNECTIONS", "2000"))
# As many come before anything is measured: tables, pools and caches have their size then.
WARM_UP = 2000
AT_ONCE = 100
# Of each worker, which takes half of them: 200 bytes left behind by each would show in the shorter
# run, 40 in the longer. What was measured is 12 to 44 KiB and 56 KiB: allocators' to and fro.
GROWTH_KIB_MAX = 192.0
GREETING = (
    b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
# The first piece of a text message, without the last: FIN is 0 (RFC 6455, section 5.4).
FIRST_FRAGMENT = b"\x01\x85\0\0\0\0" + b'{"id"'
KINDS = (
    "noise at once",
    "half a greeting",
    "noise after the greeting",
    "half a head",
    "half a message",
    "half of the fragments",
    "bad token",
    "noise of a user",
    "half a message of a user",
)
# What is answered, if anything, is in the language that the server took it for: often HTTP.
BARE = ("noise at once", "half a greeting")
USER = "noisy"
_devices = itertools.count()


async def speak(server: Server, fate: random.Random, kind: str) -> RawSession:
    """Connect, and write garbage of a kind."""
    transport = fate.choice(TRANSPORTS)
    noise = fate.randbytes(fate.randrange(1, 2048))
    if kind in BARE:
        session = await RawSession.bare(server, transport)
        greeting = session.head(1000) if transport == "tcp" else GREETING
        half = greeting[: fate.randrange(len(greeting))]
        session.write_bytes(noise if kind == "noise at once" else half)
    elif kind.endswith("user"):
        # More than there are connections at once: a device has one session.
        device = f"d{next(_devices) % (4 * AT_ONCE)}"
        session = await RawSession.open(server, transport)
        hello = {"connect": {"token": await server.token(USER), "device": device}}
        assert "connected" in await session.request(1, hello)
        session.write_bytes(noise if kind.startswith("noise") else session.head(2048) + noise)
    else:
        session = await RawSession.open(server, transport)
        head = session.head(fate.choice((100, 2048, 60_000)))
        if kind == "bad token":
            hello = {"connect": {"token": noise.hex(), "device": "d"}}
            session.write(session.encode({"id": 1, **hello}))
        elif kind == "half a head":
            session.write_bytes(head[: fate.randrange(1, len(head))])
        elif kind == "half a message":
            session.write_bytes(head + noise[:99])
        elif kind == "half of the fragments" and transport != "tcp":
            session.write_bytes(FIRST_FRAGMENT * fate.randrange(1, 3))
        else:
            session.write_bytes(noise)
    return session


async def come_and_go(server: Server, fate: random.Random) -> None:
    """One connection, ended by us or by the server."""
    kind = fate.choice(KINDS)
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        session = await speak(server, fate, kind)
        over = session.silence if kind in BARE else session.ending
        match fate.randrange(8):
            case 0 | 1 | 2:
                session.abort()
            case 3 | 4:
                session.close()
            case 5 if not kind.endswith("user"):
                await over()  # at the latest when the time to authenticate is over
            case _:
                session.finish()
                await over()
        session.close()


async def crowd(server: Server, fate: random.Random, count: int) -> None:
    """Let so many connections come and go, some at once."""
    left = iter(range(count))

    async def some() -> None:
        for _ in left:
            await come_and_go(server, fate)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


@dataclass(frozen=True)
class Kept:
    """What a worker holds."""

    descriptors: int
    anonymous_kib: float
    """Pages of no file: those of libraries are shared with whoever else runs them."""

    @classmethod
    def of(cls, pid: int) -> Kept:
        """Look at a process, by proc(5)."""
        [anonymous] = [
            float(line.split()[1])
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            if line.startswith("Pss_Anon:")
        ]
        return cls(len(list(Path(f"/proc/{pid}/fd").iterdir())), anonymous)


async def at_rest(server: Server) -> list[Kept]:
    """Wait until only the bystander is connected; then what each worker holds."""
    ports = (server.ready.http, server.ready.tcp)
    pids = [worker.pid for worker in server.ready.workers]

    def alone() -> bool:
        accepted = [
            one
            for pid in pids
            for one in psutil.Process(pid).net_connections(kind="tcp")
            if one.laddr.port in ports and one.status != psutil.CONN_LISTEN
        ]
        return len(accepted) == 1

    await until(alone, "the end of all connections but one", every=0.1)
    return [Kept.of(pid) for pid in pids]


@pytest.mark.timeout(60 + CONNECTIONS // 20)
async def test_garbage_connections_leave_neither_memory_nor_descriptors_behind(
    directory: Path,
) -> None:
    fate = seeded_random("garbage")
    async with Server(directory, "--authenticate-timeout-s", "1s", durability="os") as server:
        await server.token(USER)
        async with await PlainClient.connect(server, "bystander") as bystander:
            await asyncio.wait_for(bystander.caught_up.wait(), 10)
            await crowd(server, fate, WARM_UP)
            before = await at_rest(server)
            await crowd(server, fate, CONNECTIONS)
            after = await at_rest(server)
            compared = f"{CONNECTIONS} connections: {before} before, {after} after"
            print(compared)
            for one, other in zip(before, after, strict=True):
                assert other.descriptors == one.descriptors, compared
                assert other.anonymous_kib - one.anonymous_kib <= GROWTH_KIB_MAX, compared
            await bystander.request("ping", {})
        assert server.read_ready() == server.ready, "no worker was replaced"
