"""What clients that do not read cost the server in memory: their send queues, and no more."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.plain_client import Frame, PlainClient
from tests.support.server import Server

STALLED = 100
QUEUE_KIB = 160
BOUNDS = ("--socket-unsent-bytes", "16KiB", "--send-queue-bytes", f"{QUEUE_KIB}KiB")
RECEIVE_BYTES = 4096
BODY = "x" * 8192  # as JSON has it
# More than the queue and both kernels hold: 320 KiB for each.
MESSAGES = 40
# Of the allocator, the tables, and the messages themselves.
OVERHEAD, FIXED_KIB = 1.1, 4096.0


def memory_kib(server: Server) -> float:
    """Pages of the worker that are of no file."""
    [worker] = server.ready.workers
    lines = Path(f"/proc/{worker.pid}/smaps_rollup").read_text().splitlines()
    [anonymous] = [line for line in lines if line.startswith("Pss_Anon:")]
    return float(anonymous.split()[1])


async def counter(server: Server, name: str) -> int:
    [worker] = (await server.status())["workers"]
    return int(worker["counters"][name])


@pytest.mark.parametrize("kind", ["durable", "ephemeral"])
async def test_stalled_readers_take_no_more_than_their_queues(directory: Path, kind: str) -> None:
    arguments = {"workers": 1, "durability": "os"}
    async with Server(directory, *BOUNDS, **arguments) as server, AsyncExitStack() as stack:  # type: ignore[arg-type]
        publisher = await stack.enter_async_context(await PlainClient.connect(server, "ann"))
        for number in range(STALLED):
            client = await PlainClient.connect(
                server, "idler", device=f"d{number}", receive_bytes=RECEIVE_BYTES
            )
            await stack.enter_async_context(client)
            await client.wait(client.caught_up.is_set, "the end of the catch-up")
            client.stall()
        before = most = memory_kib(server)
        for number in range(MESSAGES):
            message: Frame = {"to": {"user": "idler"}, "base64": BODY}
            if kind == "ephemeral":
                # A newer one takes the place of an older one of its type only.
                message |= {"ephemeral": True, "contentType": f"image/{number}"}
            await publisher.request("send", message)
            most = max(most, memory_kib(server))
        bound = STALLED * QUEUE_KIB
        assert most - before <= OVERHEAD * bound + FIXED_KIB
        assert most - before >= bound / 2, "their queues were not filled"
        if kind == "durable":
            assert await counter(server, "slow_consumers") == STALLED
        else:
            assert await counter(server, "slow_consumers") == 0
            assert await counter(server, "ephemeral_dropped") > STALLED
