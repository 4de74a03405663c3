"""Where the engine has nothing for Python, no Python code runs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from websockets.asyncio.client import connect

from imfast._engine import Engine, Ticker, create_route_table
from imfast.worker.options import engine_options
from tests.support.deadline import until
from tests.unit.worker.test_options import document

# A silent client is pinged after one heartbeat; its pong buys it a second one.
HEARTBEAT = "1s"
PINGS = 2
REQUESTS = 4
"""Bit of `Engine.poll`."""


class Worker:
    """An engine with one partition whose Python side lets everybody in."""

    def __init__(self, directory: Path, routes: int) -> None:
        options = engine_options(document(heartbeat_s=HEARTBEAT, address_rate="0"))
        self.engine = Engine(options, routes)
        self.engine.open_partition(0, directory, False)
        while self.engine.replay_next(0) is not None:
            raise AssertionError("a new log is empty")
        self.found: list[int] = []

    def work(self, found: int) -> None:
        """Ends a tick."""
        self.found.append(found)
        while (request := self.engine.take_request()) is not None:
            self.engine.connected(request.connection, "default", "alice", 0)
        self.engine.flush()


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[tuple[Worker, int]]:
    """Serves on a port."""
    routes = create_route_table(1024)
    worker = Worker(directory, routes)
    loop = asyncio.get_running_loop()
    loop.add_reader(worker.engine.fileno(), Ticker(worker.engine, worker.work))
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            worker.engine.listen_http(listener.fileno())
            yield worker, listener.getsockname()[1]
    finally:
        loop.remove_reader(worker.engine.fileno())
        os.close(routes)


def open_websocket(port: int) -> connect:
    """A client that pings nobody."""
    return connect(f"ws://127.0.0.1:{port}/v1/ws", ping_interval=None, proxy=None)


def test_pings_of_an_idle_worker_run_no_python_code(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            serving(tmp_path / "0") as (worker, port),
            open_websocket(port) as client,
        ):
            await client.send('{"id": 1, "connect": {"token": "alice"}}')
            while "caughtUp" not in str(await client.recv()):
                pass
            assert worker.found == [REQUESTS]
            before = worker.engine.stats()
            assert before["python_ticks"] == 1
            # Its pongs are sent by the client's own protocol, and are received here.
            wanted = before["writes"] + PINGS
            await until(lambda: worker.engine.stats()["writes"] >= wanted, "pings", timeout=30)
            now = worker.engine.stats()
            assert now["connections"] == 1
            assert now["python_ticks"] == 1
            assert worker.found == [REQUESTS]

    uvloop.run(run())


def test_fault_of_python_code_reaches_the_loop(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path / "0") as (worker, port):
            faults: asyncio.Queue[BaseException] = asyncio.Queue()
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(
                lambda _loop, context: faults.put_nowait(context["exception"])
            )

            def fail(_found: int) -> None:
                while worker.engine.take_request() is not None:
                    pass
                raise LookupError("a defect")

            loop.remove_reader(worker.engine.fileno())
            loop.add_reader(worker.engine.fileno(), Ticker(worker.engine, fail))
            async with open_websocket(port) as client:
                await client.send('{"id": 1, "connect": {"token": "alice"}}')
                assert isinstance(await faults.get(), LookupError)

    uvloop.run(run())
