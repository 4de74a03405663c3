"""Virtual time and who acts when: ticks, bytes under way, logs that write."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

from tests.simulation.node import REOPEN_MS, Worker, WorkerFaultError
from tests.simulation.plan import Layout

__all__ = ["MS", "Scheduler"]

MS = 1_000_000
"""Nanoseconds of the world."""

KILLED_AFTER_MS = 3_500
"""A worker that is paused for longer is killed by the supervisor."""
RESTART_MS = 100


class Scheduler:
    """Runs the workers and the network between them."""

    def __init__(self, seed: int, layout: Layout, world: Any, *, strict: bool) -> None:
        """`strict`: a worker that ends by itself is a failure, not one more crash."""
        self.draw = random.Random(f"schedule {seed}")
        self.layout = layout
        self.world = world
        self.strict = strict
        self.now_ns = 0
        self.healing = False
        self.events: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.planned = 0
        self.workers: list[Worker | None] = [None] * layout.workers
        self.zombies: dict[int, Worker] = {}
        """By index: workers that were overtaken and do not know it."""
        self.incarnations = [0] * layout.workers
        self.moving: set[tuple[int, int]] = set()
        self.stalled_until: dict[int, int] = {}
        self.frozen: set[int] = set()
        """Streams of zombies that lead nowhere any more."""
        self.client_of: dict[int, Callable[[], None]] = {}
        """By stream: what takes the bytes that arrive at a client."""
        self.before_write: dict[int, Callable[[], None]] = {}
        """By partition: what happens once, when its log is about to write."""
        self.commits = 0
        self.faults: list[str] = []

    # Time

    def at(self, time_ns: int, act: Callable[..., None], *arguments: Any) -> None:
        self.planned += 1
        heapq.heappush(self.events, (max(time_ns, self.now_ns), self.planned, act, arguments))

    def after_ms(self, delay_ms: float, act: Callable[..., None], *arguments: Any) -> None:
        self.at(self.now_ns + int(delay_ms * MS), act, *arguments)

    def run_until(self, time_ns: int, done: Callable[[], bool] | None = None) -> None:
        """Lets everything up to a time happen, or until `done`."""
        events, advance = self.events, self.world.advance_to
        while events and events[0][0] <= time_ns:
            self.now_ns, _, act, arguments = heapq.heappop(events)
            advance(self.now_ns)
            act(*arguments)
            if done is not None and done():
                return
        self.now_ns = max(self.now_ns, time_ns)
        advance(self.now_ns)

    # Network

    def carry_touched(self) -> None:
        """Plans the arrival of what was written since the last call."""
        for stream, side in self.world.touched():
            self.carry(stream, side)

    def carry(self, stream: int, side: int) -> None:
        direction = (stream, side)
        if direction in self.moving:
            return
        self.moving.add(direction)
        draw = self.draw.random()
        # Mostly quick, now and then much slower than everybody else.
        delay_ns = int(20_000 + draw * 200_000 if draw < 0.95 else draw * 8_000_000)
        time_ns = max(self.now_ns + delay_ns, self.stalled_until.get(stream, 0))
        self.at(time_ns, self.arrive, stream, side)

    def arrive(self, stream: int, side: int) -> None:
        self.moving.discard((stream, side))
        if stream in self.frozen:
            return
        count = self.world.in_transit(stream, side)
        if count == 0:
            return
        if self.draw.random() < 0.1:
            count = self.draw.randint(1, count)
        worker = self.world.deliver(stream, side, count)
        if worker is not None:
            self.wake(worker)
        elif (client := self.client_of.get(stream)) is not None:
            client()
        if self.world.in_transit(stream, side):
            self.carry(stream, side)

    def wake(self, index: int) -> None:
        for worker in (self.workers[index], self.zombies.get(index)):
            if worker is not None:
                self.plan_tick(worker)

    # Workers

    def start(self, index: int) -> None:
        """The supervisor starts a worker, with back-off while it fails."""
        if self.workers[index] is not None:
            return
        self.incarnations[index] += 1
        worker = Worker(self.world, self.layout, index, self.incarnations[index], self.reopen_later)
        self.workers[index] = worker
        try:
            for number in worker.partitions:
                worker.open(number)
        except OSError:
            self.retire(worker)
            self.after_ms(RESTART_MS, self.start, index)
            return
        except WorkerFaultError as fault:
            self.fault(worker, fault)
            return
        self.world.listen(worker.engine)
        self.look_after(worker)

    def retire(self, worker: Worker) -> None:
        """The process is gone and reaped: nothing of its routes stays."""
        if self.workers[worker.index] is worker:
            self.workers[worker.index] = None
            self.world.clear_worker(worker.index)
        for number in worker.partitions:
            worker.writing.discard(number)
        worker.end()
        self.carry_touched()

    def fault(self, worker: Worker, fault: WorkerFaultError) -> None:
        """A worker's own code failed: its process ends and is replaced."""
        index, successor = worker.index, self.workers[worker.index] is worker
        # One that was overtaken stumbles over what its successor has published: its end, no more.
        assert not self.strict or not successor, str(fault)
        self.faults.append(str(fault))
        self.retire(worker)
        if successor:
            self.after_ms(RESTART_MS * 3, self.start, index)

    def plan_tick(self, worker: Worker) -> None:
        if worker.alive and not worker.tick_planned and not worker.paused:
            worker.tick_planned = True
            self.at(
                self.now_ns + self.draw.randrange(1_000, 1_000 * self.layout.tick_us),
                self.tick,
                worker,
            )

    def tick(self, worker: Worker) -> None:
        worker.tick_planned = False
        if not worker.alive or worker.paused:
            return
        try:
            worker.tick()
        except WorkerFaultError as fault:
            self.fault(worker, fault)
            return
        self.look_after(worker)

    def look_after(self, worker: Worker) -> None:
        """Plans what a tick left to do."""
        touched, logs, ready, timer_ns = self.world.left(worker.engine)
        for stream, side in touched:
            self.carry(stream, side)
        for partition in logs:
            if partition not in worker.writing:
                worker.writing.add(partition)
                draw = self.draw.random()
                delay_ns = int(50_000 + draw * 400_000 if draw < 0.9 else draw * 20_000_000)
                self.at(self.now_ns + delay_ns, self.write_log, worker, partition)
        if ready:
            self.plan_tick(worker)
        if timer_ns != worker.timer_ns:
            worker.timer_ns = timer_ns
            self.at(timer_ns, self.plan_tick, worker)

    def write_log(self, worker: Worker, partition: int) -> None:
        if not worker.alive:
            return
        worker.writing.discard(partition)
        if worker.paused:
            # The log's thread stands still with the rest of the process.
            worker.writing.add(partition)
            self.after_ms(1, self.write_log, worker, partition)
            return
        happens = self.before_write.pop(partition, None)
        if happens is not None:
            worker.writing.add(partition)
            happens()
            if not worker.alive:
                return
            worker.writing.discard(partition)
        try:
            self.commits += self.world.step_log(worker.engine, partition)
        except BaseException as error:
            self.fault(worker, WorkerFaultError(f"log of partition {partition}: {error!r}"))
            return
        self.plan_tick(worker)

    def reopen_later(self, worker: Worker, partition: int) -> None:
        self.after_ms(REOPEN_MS, self.reopen, worker, partition)

    def reopen(self, worker: Worker, partition: int) -> None:
        """As `Worker._reopen` of imfast.worker.lifecycle."""
        if not worker.alive:
            return
        if worker.paused:
            self.after_ms(10, self.reopen, worker, partition)
            return
        try:
            worker.open(partition)
        except OSError:
            self.reopen_later(worker, partition)
            return
        except WorkerFaultError as fault:
            if self.strict:
                raise AssertionError(str(fault)) from fault
            self.faults.append(str(fault))
            self.reopen_later(worker, partition)
            return
        worker.reopening.discard(partition)
        worker.engine.flush()
        self.look_after(worker)
