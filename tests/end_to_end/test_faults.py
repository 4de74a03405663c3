"""Faults inside a worker: each costs what it touches, is logged once, counted and reported.

They are real ones: an exception of Python code, a panic of the engine, a fold that numbers wrong,
a SIGSEGV, a queue that fills because its peer stands still. See `tests.support.faulty_worker`.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.deadline import until
from tests.support.plain_client import PlainClient, RefusedError
from tests.support.server import Server
from tests.support.talk import Talk, retry_until_stored, settled

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
VICTIM = 0
BODY = "a body that no report may contain"
TEXT = "a text that no report may contain"
"""What the exceptions say; `faulty_worker` has the same."""
WORKER_EXCEPTION = 70
WORKER_PANIC = 71


class FaultyServer(Server):
    """A server whose workers do wrong when they are told to."""

    def __init__(self, directory: Path, *arguments: str, workers: int = 2) -> None:
        self.orders = directory / "orders"
        super().__init__(
            directory,
            *("--partitions", str(PARTITIONS)),
            *arguments,
            workers=workers,
            program=[str(ROOT / "tests/support/faulty_serve.py")],
            environment={"TEST_FAULTS": str(self.orders), "PYTHONPATH": str(ROOT)},
        )
        self.orders.mkdir()

    def order(self, index: int, what: str) -> None:
        """Tell one worker to do wrong, at once or at the next batch or request."""
        path = self.orders / self.worker(index).server
        path.with_suffix(".new").write_text(what)
        path.with_suffix(".new").rename(path)

    async def obeyed(self, index: int) -> None:
        path = self.orders / self.worker(index).server
        await until(lambda: not path.exists(), "the order to be read")

    def reports(self) -> list[str]:
        """The crash reports, checked for what all of them have, and none may have."""
        texts = []
        for path in sorted((self.data / "crash").glob("crash-*")):
            text = path.read_text()
            assert path.stat().st_mode & 0o077 == 0, "others may read it"
            for part in (
                "version: ",
                "options: {",
                "-- last events",
                "batch delivered",
                "-- trace",
            ):
                assert part in text, f"{part!r} is not in {text}"
            for secret in (BODY, TEXT, "eyJ", "dev-secret"):
                assert secret not in text, f"{secret!r} is in {text}"
            texts.append(text)
        return texts

    async def faults(self, index: int) -> dict[str, int]:
        status = await self.status()
        faults: dict[str, int] = status["workers"][index]["faults"]
        return faults

    async def wait_fault(self, index: int, kind: str, least: int = 1) -> int:
        """Wait until the admin port counts faults of that kind."""
        deadline = asyncio.get_running_loop().time() + 10
        while asyncio.get_running_loop().time() < deadline:
            if (count := (await self.faults(index)).get(kind, 0)) >= least:
                return count
            await asyncio.sleep(0.05)
        raise AssertionError(f"no {kind} among {await self.faults(index)}")


@pytest.fixture
def server(directory: Path) -> FaultyServer:
    return FaultyServer(directory)


async def send_around(server: FaultyServer, worker: int, key: str) -> None:
    """One user on that worker stores a message for herself in a conversation of each partition."""
    async with await PlainClient.connect(server, "alice", worker=worker) as alice:
        for number in range(8):
            await alice.send({"user": f"u{number}"}, f"{key} {number}", BODY, timeout=10)


async def check_worker_is_replaced(
    server: FaultyServer, fault: Callable[[], None], status: int, kind: str
) -> str:
    """Worker 0 ends by `fault`; worker 1's client notices nothing. Returns the report."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        await send_around(server, 0, "before")
        bystander = await stack.enter_async_context(
            await PlainClient.connect(server, "bob", worker=1)
        )
        before = [worker.pid for worker in server.ready.workers]
        fault()
        await server.restarted()
        after = [worker.pid for worker in server.ready.workers]
        assert after[0] != before[0]
        assert after[1] == before[1]
        sent = await bystander.send({"user": "carol"}, "after", BODY)
        assert sent["seq"] == 1
        assert not bystander.closed.is_set()
        await send_around(server, 0, "after")
        [died] = server.lines("worker_died")
        assert died["status"] == status
        assert await server.wait_fault(0, kind) == 1
        assert kind not in await server.faults(1)
        [report] = server.reports()
        return report


async def test_exception_in_a_tick_ends_its_worker_which_is_replaced(server: FaultyServer) -> None:
    report = await check_worker_is_replaced(
        server, lambda: server.order(0, "exception"), WORKER_EXCEPTION, "exceptions"
    )
    assert "what: ValueError" in report
    assert "faulty_worker.py" in report
    [line] = server.lines("fault")
    assert line["kind"] == "exceptions"
    assert "crash-" in line["report"]


async def test_panic_of_the_engine_ends_its_worker_which_is_replaced(server: FaultyServer) -> None:
    report = await check_worker_is_replaced(
        server, lambda: server.order(0, "panic"), WORKER_PANIC, "panics"
    )
    assert re.search(r"place: .*recovery\.rs:\d+", report)
    assert "index out of bounds" in report
    assert "replay_next" in report, "no backtrace"
    [line] = server.lines("fault")
    assert "recovery.rs" in line["panic"]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
async def test_fatal_signal_leaves_a_trace_and_the_worker_is_replaced(
    server: FaultyServer, number: signal.Signals
) -> None:
    report = await check_worker_is_replaced(
        server, lambda: os.kill(server.worker(0).pid, number), -number, "signals"
    )
    assert "Current thread" in report
    [died] = server.lines("worker_died")
    assert died["report"].endswith(f"-signal-{int(number)}.txt")


@pytest.mark.parametrize("order", ["fold", "step"])
async def test_fault_of_a_fold_closes_its_partition_until_that_is_opened_again(
    server: FaultyServer, order: str
) -> None:
    async with AsyncExitStack() as stack:
        talk = await Talk.start(server, stack, PARTITIONS)
        server.order(VICTIM, f"{order} {VICTIM}")
        await server.obeyed(VICTIM)
        attempts = talk.post_to_all(BODY)
        await talk.check_others(attempts, VICTIM)
        await settled(attempts[VICTIM], timeout=2.0)
        failed = [one for one in attempts[VICTIM] if one.error is not None]
        assert failed, "nobody was told of the failure"
        assert {one.error["name"] for one in failed if one.error} <= {
            "internal",
            "partition_unavailable",
        }
        assert all(one.error["retryable"] for one in failed if one.error)
        for one in failed:
            sent = await retry_until_stored(talk, one)
            one.sent, one.error = {**sent, "duplicate": False}, None
        await talk.check_others(talk.post_to_all("afterwards"), VICTIM)
        await until(lambda: talk.ledger.in_flight == 0, "all replies")
        await talk.check()
        assert server.read_ready() == server.ready, "no worker was replaced"
        assert not talk.alice.closed.is_set()
        assert not talk.bob.closed.is_set()
        assert await server.wait_fault(0, "partition_exceptions") == 1
        assert len(server.lines("fault")) == 1
        assert len(server.lines("partition open again")) == 1
        assert len(server.reports()) == 1


async def test_exception_over_a_request_is_answered_and_costs_nobody_else(
    server: FaultyServer,
) -> None:
    async with server, await PlainClient.connect(server, "alice", worker=0) as alice:
        await send_around(server, 0, "before")
        server.order(0, "request")
        await server.obeyed(0)
        with pytest.raises(RefusedError) as refused:
            await alice.create_group("g", "bob")
        assert refused.value.name == "internal"
        assert refused.value.retryable
        assert await alice.create_group("g", "bob")
        assert await server.wait_fault(0, "request_exceptions") == 1
        assert len(server.lines("fault")) == 1
        assert len(server.reports()) == 1
        assert server.read_ready() == server.ready, "no worker was replaced"


async def test_queue_to_a_stopped_worker_fills_and_only_its_partitions_are_refused(
    directory: Path,
) -> None:
    server = FaultyServer(directory, "--link-queue-bytes", "1MiB")
    async with AsyncExitStack() as stack:
        talk = await Talk.start(server, stack, PARTITIONS)
        theirs = next(group for number, group in talk.groups.items() if number % 2 == 1)
        ours = next(group for number, group in talk.groups.items() if number % 2 == 0)
        server.pause(1)
        try:
            body = {"to": {"group": theirs}, "json": BODY + "x" * 49_000}
            posts = [
                talk.alice.post("send", {**body, "key": f"to {theirs} {number}"})
                for number in range(64)
            ]
            replies, _ = await asyncio.wait(posts, timeout=2.0, return_when=asyncio.FIRST_COMPLETED)
            refused = [reply.result()["error"] for reply in replies]
            assert refused, "nobody was told that the queue is full"
            assert all(one["name"] == "overloaded" and one["retryable"] for one in refused)
            sent = await talk.alice.send({"group": ours}, "k", BODY, timeout=1.0)
            assert not sent["duplicate"]
        finally:
            server.resume(1)
        for post in posts:
            reply = await asyncio.wait_for(post, 10)
            assert "sent" in reply or reply["error"]["retryable"]
        assert server.read_ready() == server.ready, "no worker was replaced"
        await server.wait_fault(0, "requests_full")
        assert [line["kind"] for line in server.lines("fault")] == ["requests_full"]
        assert server.reports() == [], "a full queue is no defect"


async def test_reports_are_bounded_and_a_worker_that_ends_in_order_leaves_none(
    directory: Path,
) -> None:
    server = FaultyServer(directory, workers=1)
    crash = server.data / "crash"
    crash.mkdir(parents=True)
    for number in range(20):
        (crash / f"crash-{number:013}-n1.w0-1-panic.txt").write_text("an old one")
    async with server:
        await send_around(server, 0, "before")
        os.kill(server.worker(0).pid, signal.SIGSEGV)
        await server.restarted()
    names = sorted(path.name for path in crash.iterdir())
    assert len(names) == 16
    assert names[-1].endswith(f"-signal-{int(signal.SIGSEGV)}.txt")
