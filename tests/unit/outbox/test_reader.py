"""A reader with its store and its feed, beside an owner and a consumer in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from imfast.outbox.document import ConsumerDocument
from imfast.outbox.effect import Effect
from imfast.outbox.handler import Handler
from imfast.outbox.reader import Reader
from imfast.outbox.store import Store, store_path
from tests.support.deadline import until


def line(position: int, conversation: str = "d.x", seq: int = 0) -> bytes:
    """A committed message as its owner writes it; its id is 100 more than its position."""
    message = {
        "conversation": conversation,
        "seq": seq or position,
        "messageId": str(100 + position),
        "from": "alice",
        "timestampMs": 5,
        "json": position,
    }
    effect = {"position": f"0-{position}", "tenant": "default", "message": message}
    return json.dumps(effect).encode()


class Owner:
    """Answers with what is behind the position asked for, all in one page."""

    def __init__(self, lines: Sequence[bytes], opened_at: int = 0) -> None:
        self.lines = list(lines)
        self.opened_at = opened_at
        self.committed = max((self._index(one) for one in lines), default=opened_at)
        self.asked: list[int | None] = []
        self._answering: set[asyncio.Task[None]] = set()

    async def end(self) -> None:
        """End what still waits for news, and close its connection."""
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    @staticmethod
    def _index(one: bytes) -> int:
        return Effect.read(one).index

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        with suppress(ConnectionError, asyncio.CancelledError):
            while question := await reader.readline():
                after = json.loads(question)["after"]
                self.asked.append(after)
                through = self.opened_at if after is None else self.committed
                found = [] if after is None else [x for x in self.lines if self._index(x) > after]
                if after is not None and not found and after <= self.committed:
                    await asyncio.Event().wait()  # nothing new
                body = b"".join(one + b"\n" for one in found)
                head = {"bytes": len(body), "through": through, "committed": self.committed}
                writer.write(json.dumps(head).encode() + b"\n" + body)
        writer.close()


class Consumer:
    """Takes numbers down; fails at those in `bad`."""

    def __init__(self, *bad: int) -> None:
        self.bad = set(bad)
        self.calls: list[list[int]] = []
        self.handed: list[int] = []

    async def __call__(self, effects: Sequence[Effect]) -> None:
        numbers = [effect.index for effect in effects]
        self.calls.append(numbers)
        if self.bad & set(numbers):
            raise RuntimeError("told to")
        self.handed += numbers


@asynccontextmanager
async def reading(
    directory: Path, owner: Owner, consumer: Consumer, *, attempts: int = 50, batch: int = 256
) -> AsyncIterator[Store]:
    """A reader that runs meanwhile."""
    path = directory / "feed"
    server = await asyncio.start_unix_server(owner.answer, path)
    document = ConsumerDocument(
        name="notes",
        module="",
        function="",
        server="",
        data_dir=directory,
        supervisor_pid=0,
        generation=1,
        feeds=(str(path),),
        log_level="info",
        log_format="json",
        batch_effects=batch,
        call_timeout_s=5.0,
        backoff_s=0.01,
        backoff_max_s=0.02,
        attempts_max=attempts,
        expiry_s=60.0,
        waiting_max=1000,
    )
    with Store(store_path(directory, "notes"), create=True) as store:
        if not store.positions() and owner.opened_at == 0:
            store.set_position(0, 0)
        running = asyncio.create_task(Reader(document, store, Handler(consumer, 5.0)).run())
        try:
            yield store
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            server.close()
            await owner.end()


async def test_reader_that_is_new_begins_where_its_owner_says(tmp_path: Path) -> None:
    owner, consumer = Owner([line(8), line(9)], opened_at=7), Consumer()
    async with reading(tmp_path, owner, consumer) as store:
        await until(lambda: store.positions() == {0: 9}, "the end")
    assert owner.asked[:2] == [None, 7]
    assert consumer.calls == [[8, 9]]


async def test_reader_goes_on_from_its_position_and_in_calls_of_bounded_size(
    tmp_path: Path,
) -> None:
    owner, consumer = Owner([line(n) for n in range(1, 8)]), Consumer()
    async with reading(tmp_path, owner, consumer, batch=3) as store:
        await until(lambda: store.positions() == {0: 7}, "the end")
    assert consumer.calls == [[1, 2, 3], [4, 5, 6], [7]]
    owner.lines.append(line(8))
    owner.committed = 8
    async with reading(tmp_path, owner, consumer) as store:
        await until(lambda: store.positions() == {0: 8}, "the end")
    assert consumer.handed == list(range(1, 9))


async def test_only_what_fails_waits_and_its_conversation_with_it(tmp_path: Path) -> None:
    lines = [line(1), line(2, "d.y", 1), line(3), line(4, "d.z", 1)]
    owner, consumer = Owner(lines), Consumer(1)
    async with reading(tmp_path, owner, consumer) as store:
        await until(lambda: consumer.calls.count([1]) >= 3, "attempts")
        assert consumer.handed == [2, 4]
        assert store.count() == (2, 0)
        consumer.bad.clear()
        await until(lambda: store.count() == (0, 0), "no letter")
    assert consumer.handed == [2, 4, 1, 3]


async def test_dead_letter_lets_its_conversation_go_on(tmp_path: Path) -> None:
    owner, consumer = Owner([line(1), line(2)]), Consumer(1)
    async with reading(tmp_path, owner, consumer, attempts=2) as store:
        await until(lambda: store.count() == (0, 1), "a dead letter")
        await until(lambda: consumer.handed == [2], "the other")
        assert store.letters(dead=True, limit=9)[0].attempts == 2


@pytest.mark.parametrize("blamed", [1, 3])
async def test_effect_in_whose_call_the_process_ended_has_failed(
    tmp_path: Path, blamed: int
) -> None:
    owner, consumer = Owner([line(n, f"d.{n}", 1) for n in range(1, 5)]), Consumer()
    with Store(store_path(tmp_path, "notes"), create=True) as store:
        store.set_position(0, 0)
        store.calling([str(100 + blamed)])
    async with reading(tmp_path, owner, consumer, attempts=1) as store:
        await until(lambda: store.positions() == {0: 4}, "the end")
        [dead] = store.letters(dead=True, limit=9)
    assert dead.position == blamed
    assert dead.error == "the consumer's process ended while it was handled"
    rest = [n for n in range(1, 5) if n != blamed]
    assert consumer.calls == [[n] for n in rest], "each alone, and kept alone"


async def test_effects_of_a_call_that_ended_the_process_are_handed_over_alone(
    tmp_path: Path,
) -> None:
    owner, consumer = Owner([line(n, f"d.{n}", 1) for n in range(1, 4)]), Consumer()
    with Store(store_path(tmp_path, "notes"), create=True) as store:
        store.set_position(0, 0)
        store.calling(["101", "102", "103"])
    async with reading(tmp_path, owner, consumer) as store:
        await until(lambda: store.positions() == {0: 3}, "the end")
        assert store.left_calling() == set()
        owner.lines.append(line(4))
    assert consumer.calls == [[1], [2], [3]]


async def test_log_that_lost_its_end_takes_the_reader_back(tmp_path: Path) -> None:
    owner, consumer = Owner([line(3)]), Consumer()
    with Store(store_path(tmp_path, "notes"), create=True) as store:
        store.set_position(0, 9)
    async with reading(tmp_path, owner, consumer) as store:
        await until(lambda: store.positions() == {0: 3}, "back")
        owner.lines.append(line(4))
        owner.committed = 4
    async with reading(tmp_path, owner, consumer) as store:
        await until(lambda: store.positions() == {0: 4}, "the new end")
    assert consumer.handed == [4]
