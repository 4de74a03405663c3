"""What goes wrong: each kind of the plan's troubles, done to the node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.simulation.node import Worker
from tests.simulation.scheduler import KILLED_AFTER_MS, MS, Scheduler

__all__ = ["Trouble"]

TOMORROW_MS = 25 * 3_600_000


class Trouble:
    """Crashes, broken disks, broken links. Once `scheduler.healing`, nothing new begins."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.world: Any = scheduler.world
        self.kinds: dict[str, Callable[..., None]] = {
            "kill": self.kill,
            "kill_all": self.kill_all,
            "power_cut": self.power_cut,
            "cut_at_write": self.cut_at_write,
            "pause": self.pause,
            "overtake": self.overtake,
            "cut_link": self.cut_link,
            "lose_frame": self.lose_frame,
            "stall_link": self.stall_link,
            "disk_error": self.disk_error,
            "disk_full": self.disk_full,
            "archive_trouble": self.archive_trouble,
            "jump": self.world.jump_wall,
            "tomorrow": self.tomorrow,
        }

    # Processes

    def die(self, worker: Worker, operations: int) -> None:
        """SIGKILL, while the log may do so many more operations on its disk."""
        for number in worker.partitions:
            self.world.disk_stop_after(number, operations)
            if number in worker.writing:
                self.last_write(worker, number)
        self.scheduler.retire(worker)

    def last_write(self, worker: Worker, number: int) -> None:
        try:
            self.world.step_log(worker.engine, number)
        except BaseException as error:
            if self.scheduler.strict:
                raise AssertionError(f"log of partition {number}: {error!r}") from error

    def kill(self, index: int, operations: int, restart_ms: float) -> None:
        """A worker dies; its disks keep what the system had taken."""
        worker = self.scheduler.workers[index]
        if worker is None or index in self.scheduler.zombies:
            return
        self.die(worker, operations)
        for number in worker.partitions:
            self.world.disk_kill(number)
        self.scheduler.after_ms(restart_ms, self.scheduler.start, index)

    def kill_all(self, operations: int, restart_ms: float) -> None:
        """The supervisor dies, and every worker with it."""
        self.end_all(operations)
        for number in range(self.scheduler.layout.partitions):
            self.world.disk_kill(number)
        self.start_all(restart_ms)

    def power_cut(self, operations: int, tear: int, restart_ms: float) -> None:
        """The machine stops: what was not synced is lost, or half of it."""
        self.end_all(operations)
        for number in range(self.scheduler.layout.partitions):
            self.world.disk_crash(number, tear + number if tear > 1 else tear)
        self.start_all(restart_ms)

    def cut_at_write(self, partition: int, operations: int, tear: int, restart_ms: float) -> None:
        """The machine stops while a log writes: a moment that is too short to be met by chance."""

        def cut() -> None:
            if not self.scheduler.healing:
                self.power_cut(operations, tear, restart_ms)

        self.scheduler.before_write[partition] = cut

    def end_all(self, operations: int) -> None:
        for zombie in list(self.scheduler.zombies.values()):
            self.end_zombie(zombie)
        for worker in self.scheduler.workers:
            if worker is not None:
                self.die(worker, operations)
        for stream in list(self.scheduler.client_of):
            self.cut(stream)
        for stream, _, _ in self.world.links():
            self.cut(stream)
        self.world.fresh_routes()

    def start_all(self, restart_ms: float) -> None:
        for index in range(self.scheduler.layout.workers):
            self.scheduler.after_ms(restart_ms, self.scheduler.start, index)

    def pause(self, index: int, length_ms: float) -> None:
        """A worker stands still; the supervisor kills it if that takes too long."""
        worker = self.scheduler.workers[index]
        if worker is None or worker.paused or index in self.scheduler.zombies:
            return
        worker.paused = True
        if length_ms > KILLED_AFTER_MS:
            self.scheduler.after_ms(KILLED_AFTER_MS, self.kill_paused, worker)
        else:
            self.scheduler.after_ms(length_ms, self.resume, worker)

    def kill_paused(self, worker: Worker) -> None:
        if worker.alive:
            self.kill(worker.index, 0, 50)

    def resume(self, worker: Worker) -> None:
        if worker.alive:
            worker.paused = False
            self.scheduler.plan_tick(worker)

    def overtake(self, index: int, pause_ms: float, zombie_ms: float) -> None:
        """A paused owner's lock is freed and its successor serves, before the owner wakes up once
        more: on disks that are not the machine's own, a takeover cannot rely on the lock."""
        worker = self.scheduler.workers[index]
        if worker is None or worker.paused or self.scheduler.zombies:
            return
        worker.paused = True
        self.scheduler.after_ms(pause_ms, self.succeed, worker, zombie_ms)

    def succeed(self, worker: Worker, zombie_ms: float) -> None:
        scheduler, index = self.scheduler, worker.index
        if not worker.alive or scheduler.zombies:
            return
        scheduler.zombies[index] = worker
        scheduler.workers[index] = None
        # Its clients, and its own links, are on the other side of a broken network.
        self.world.lose_number(worker.engine)
        for listener in (0, 1):
            worker.engine.release(listener)
        for stream, gateway, _ in self.world.links():
            if gateway == index:
                scheduler.frozen.add(stream)
        for stream, lose in self.streams_of(index):
            scheduler.frozen.add(stream)
            lose()
        self.world.clear_worker(index)
        for number in worker.partitions:
            self.world.disk_break_lock(number, Path(f"/{number}"))
        scheduler.start(index)
        if scheduler.workers[index] is None:
            # Nobody took over; the old owner might go on, but for the number that it lost.
            self.end_zombie(worker)
            return
        scheduler.after_ms(20, self.resume, worker)
        scheduler.after_ms(zombie_ms, self.end_zombie, worker)

    def streams_of(self, _index: int) -> list[tuple[int, Callable[[], None]]]:
        """Streams of clients of a worker, and what makes each client give its one up."""
        return []

    def end_zombie(self, worker: Worker) -> None:
        if worker.alive:
            self.scheduler.zombies.pop(worker.index, None)
            self.scheduler.retire(worker)

    # Links

    def cut(self, stream: int) -> None:
        for index in self.world.cut(stream):
            self.scheduler.wake(index)
        client = self.scheduler.client_of.get(stream)
        if client is not None:
            client()

    def link(self, choice: int) -> int | None:
        links = [link for link, _, _ in self.world.links() if link not in self.scheduler.frozen]
        return links[choice % len(links)] if links else None

    def cut_link(self, choice: int) -> None:
        if (stream := self.link(choice)) is not None:
            self.cut(stream)

    def lose_frame(self, choice: int, side: int) -> None:
        """One frame of a link is lost, as soon as there is one under way."""
        self.lose_next_frame(choice, side, 10_000)

    def lose_next_frame(self, choice: int, side: int, looks: int) -> None:
        stream = self.link(choice)
        if stream is None or looks == 0 or self.world.lose_frame(stream, side):
            return
        next_ns = self.scheduler.now_ns + MS // 10
        self.scheduler.at(next_ns, self.lose_next_frame, choice, side, looks - 1)

    def stall_link(self, choice: int, length_ms: float) -> None:
        if (stream := self.link(choice)) is not None:
            until_ns = self.scheduler.now_ns + int(length_ms * MS)
            self.scheduler.stalled_until[stream] = until_ns

    # Clocks

    def tomorrow(self, length_ms: float) -> None:
        """The clock is wrong for a while: everything is older than the dedupe window."""
        self.world.jump_wall(TOMORROW_MS)
        self.scheduler.after_ms(length_ms, self.world.jump_wall, -TOMORROW_MS)

    # Disks

    def disk_error(self, partition: int, operation: str, skip: int, error: int) -> None:
        self.world.disk_fault(partition, operation, skip, error)

    def disk_full(self, partition: int, room: int, length_ms: float) -> None:
        self.world.disk_room(partition, room)
        self.scheduler.after_ms(length_ms, self.world.disk_room, partition, None)

    def archive_trouble(self, partition: int, writes: bool, reads: bool, length_ms: float) -> None:
        self.world.archive_trouble(partition, writes, reads)
        self.scheduler.after_ms(length_ms, self.world.archive_trouble, partition, False, False)

    def heal(self) -> None:
        """Everything works again from now on; what was lost stays lost."""
        self.scheduler.healing = True
        for number in range(self.scheduler.layout.partitions):
            self.world.archive_trouble(number, False, False)
            self.world.disk_room(number, None)
            self.world.disk_mend(number)
        for zombie in list(self.scheduler.zombies.values()):
            self.end_zombie(zombie)
        for index, worker in enumerate(self.scheduler.workers):
            if worker is None:
                self.scheduler.start(index)
            elif worker.paused:
                self.resume(worker)
