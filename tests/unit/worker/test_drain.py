"""How a worker that ends sends its clients away. What the engine does then is tested on servers."""

from __future__ import annotations

import asyncio

from imfast.worker.drain import AWAY_PER_S_MIN, LOOK_S, Drain


class Clients:
    """An engine as the drain sees it: so many clients, of whom each leaves when told."""

    def __init__(self, count: int, *, queued: bool = False) -> None:
        self.left = count
        self.queued = queued
        self.shares: list[int] = []
        self.accepts = True

    def drain(self) -> None:
        self.accepts = False

    def send_away(self, count: int, reconnect_within_ms: int) -> int:
        told = min(count, self.left)
        self.left -= told
        if told:
            self.shares.append(told)
        return self.left

    def vacated(self) -> bool:
        return self.left == 0

    def drained(self) -> bool:
        return self.left == 0 and not self.queued

    def flush(self) -> None:
        pass


async def ended(engine: Clients, seconds: float, *, successor: bool) -> float:
    """Drain; return how long it took."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    began = loop.time()
    Drain(engine, over.set).begin(seconds, successor=successor)
    assert not engine.accepts
    await asyncio.wait_for(over.wait(), 10)
    return loop.time() - began


async def test_many_clients_are_sent_away_in_even_shares() -> None:
    engine = Clients(10_000)
    await ended(engine, 1.0, successor=False)
    assert sum(engine.shares) == 10_000
    assert max(engine.shares) <= 10_000 / 0.8 * LOOK_S + 1


async def test_few_clients_do_not_take_the_whole_time() -> None:
    engine = Clients(50)
    await ended(engine, 600.0, successor=False)
    assert engine.shares == [50]
    assert AWAY_PER_S_MIN * LOOK_S >= 50


async def test_without_time_all_leave_at_once() -> None:
    engine = Clients(10_000)
    await ended(engine, 0.0, successor=True)
    assert engine.shares == [10_000]


async def test_work_of_others_keeps_a_worker_that_has_no_successor_only() -> None:
    assert await ended(Clients(1, queued=True), 0.3, successor=False) >= 0.3
    assert (await ended(Clients(1, queued=True), 600.0, successor=True)) < 600.0
