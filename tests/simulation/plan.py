"""The workload of a seed: what clients do and what goes wrong, as a list that can be shortened."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Layout", "Operation", "Plan", "direct_id", "group_id", "make_plan"]

TENANT = "default"
START_MS = 400
"""Everybody has had the time to connect by then."""


@dataclass(frozen=True)
class Operation:
    """One thing that happens at a time of the world, in milliseconds."""

    at_ms: float
    kind: str
    arguments: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.at_ms:9.2f} ms  {self.kind}{self.arguments}"


@dataclass(frozen=True)
class Layout:
    """The node, and how it is configured. What `options` does not name is `node.OPTIONS`."""

    workers: int
    partitions: int
    users: tuple[str, ...]
    devices: tuple[tuple[str, str], ...]
    """User and transport of each device."""
    groups: tuple[tuple[str, str], ...]
    """Creator and key of each group."""
    route_buckets: int
    one_request_a_tick: bool
    tick_us: int
    """How long a busy worker may take from one tick to the next."""
    options: dict[str, Any] = field(default_factory=dict)
    dated_keys: bool = False
    """Keys of sends are UUIDv7, so that they may be forgotten and no second copy is made."""
    dedupe_entries: int = 100_000


@dataclass(frozen=True)
class Plan:
    """All that a run depends on."""

    seed: int
    layout: Layout
    operations: tuple[Operation, ...]
    end_ms: float
    """From here on nothing goes wrong any more."""


def scoped_hash(*parts: str) -> str:
    digest = hashlib.sha256(b"\0".join(part.encode() for part in parts)).digest()
    return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()


def direct_id(one: str, other: str) -> str:
    """The id of the conversation of two users (spec/wire.md, Identifiers)."""
    return "d." + scoped_hash("direct", TENANT, *sorted([one, other]))


def group_id(creator: str, key: str) -> str:
    """The id of a group (spec/wire.md, Identifiers)."""
    return "g." + scoped_hash("group", TENANT, creator, key)


def make_layout(draw: random.Random) -> Layout:
    workers = draw.choice([1, 2, 2, 3, 3, 4])
    partitions = draw.choice([1, 2, 3, 4])
    users = tuple(f"u{number}" for number in range(draw.randint(3, 6)))
    transports = ["json", "json", "proto", "tcp"]
    devices = [(user, draw.choice(transports)) for user in users]
    devices += [(draw.choice(users), draw.choice(transports)) for _ in range(draw.randint(0, 3))]
    groups = tuple((draw.choice(users), f"key{number}") for number in range(draw.randint(1, 3)))
    options = {
        "requests_in_flight_max": draw.choice([2, 4, 16, 64]),
        "link_queue_bytes": draw.choice([2_000, 20_000, 1 << 20]),
        "batch_commands_max": draw.choice([1, 3, 16, 256]),
        "segment_bytes": draw.choice([600, 2_000, 20_000, 1 << 20]),
        "rows_memory_bytes": draw.choice([400, 4_000, 40_000, 1 << 20]),
        "archive_batch_commands": draw.choice([1, 3, 20, 200]),
        "fan_out_slice_sockets": draw.choice([1, 1, 2, 64]),
        "checkpoint_ms": draw.choice([250, 250, 500, 1000]),
        "catch_up_rows": draw.choice([1, 2, 5, 50]),
        "catch_up_bytes": draw.choice([200, 2_000, 65_536]),
        "coalesce_ms": draw.choice([None, None, 0, 40]),
        "events_per_tick": draw.choice([1, 2, 4, 64]),
        "accepts_per_tick": draw.choice([1, 2, 64]),
    }
    # Apart, too.
    keys = random.Random(f"keys {options} {users} {groups}")
    dated_keys = keys.random() < 0.5
    options["dedupe_disk_bytes"] = keys.choice([0, 640, 6_400, 1 << 30])
    options["log_keep_bytes"] = keys.choice([0, 0, 1_000, 1 << 30])
    return Layout(
        workers=workers,
        partitions=partitions,
        users=users,
        devices=tuple(devices),
        groups=groups,
        route_buckets=draw.choice([1, 2, 1024]),
        one_request_a_tick=draw.random() < 0.3,
        tick_us=draw.choice([60, 60, 2_000, 8_000]),
        options=options,
        dated_keys=dated_keys,
        dedupe_entries=keys.choice([4, 30, 100_000]) if dated_keys else 100_000,
    )


def make_plan(seed: int) -> Plan:
    """Choose a node, a workload and what goes wrong."""
    draw = random.Random(f"plan {seed}")
    layout = make_layout(draw)
    length_ms = draw.choice([1_500, 3_000, 6_000])
    maker = OperationMaker(draw, layout)
    operations = []
    for number, (creator, key) in enumerate(layout.groups):
        members = [user for user in layout.users if user != creator and draw.random() < 0.6]
        device = draw.choice(maker.devices_of(creator))
        opens = draw.random() < 0.6
        at_ms = START_MS + draw.random() * 100
        operations.append(Operation(at_ms, "create", (device, number, key, tuple(members), opens)))
    for _ in range(draw.choice([40, 80, 120])):
        at_ms = START_MS + draw.random() * length_ms
        operations.append(maker.client_operation(at_ms))
    for _ in range(draw.choice([0, 2, 5, 9])):
        at_ms = START_MS + draw.random() * length_ms
        operations.append(maker.trouble(at_ms))
    # Drawn apart from the rest, which thus stays what it was before there were any.
    cuts = OperationMaker(random.Random(f"cuts {seed}"), layout)
    for _ in range(cuts.draw.choice([0, 0, 1, 2])):
        at_ms = START_MS + cuts.draw.random() * length_ms
        operations.append(Operation(at_ms, *cuts.cut_at_write()))
    if layout.dated_keys and cuts.draw.random() < 0.6:
        at_ms = START_MS + cuts.draw.random() * length_ms
        operations.append(Operation(at_ms, "tomorrow", (cuts.draw.random() * 1_000,)))
    archives = OperationMaker(random.Random(f"archives {seed}"), layout)
    for _ in range(archives.draw.choice([0, 0, 1, 2])):
        at_ms = START_MS + archives.draw.random() * length_ms
        operations.append(Operation(at_ms, *archives.archive_trouble()))
    for _ in range(20 if layout.dated_keys else 0):
        at_ms = START_MS + cuts.draw.random() * length_ms
        operations.append(Operation(at_ms, *cuts.repeat()))
    operations.sort(key=lambda operation: operation.at_ms)
    return Plan(seed, layout, tuple(operations), START_MS + length_ms)


class OperationMaker:
    """Draws single operations."""

    def __init__(self, draw: random.Random, layout: Layout) -> None:
        self.draw = draw
        self.layout = layout
        self.client_kinds = self.weighted(
            (self.send, 20), (self.burst, 4), (self.repeat, 4), (self.conflict, 1),
            (self.join, 3), (self.leave, 3), (self.add, 4), (self.remove, 4),
            (self.ack, 2), (self.read, 1), (self.hang_up, 5), (self.go_back, 1),
            (self.tear_at_token, 5), (self.look, 4),
        )  # fmt: skip
        self.trouble_kinds = self.weighted(
            (self.kill, 5), (self.power_cut, 4), (self.pause, 2), (self.overtake, 2),
            (self.cut_link, 2), (self.lose_frame, 5), (self.stall_link, 2),
            (self.disk_error, 5), (self.disk_full, 3), (self.jump, 1), (self.slow_reader, 2),
            (self.kill_all, 1),
        )  # fmt: skip

    @staticmethod
    def weighted(*kinds: tuple[Callable[[], tuple[str, tuple[Any, ...]]], int]) -> list[Any]:
        return [kind for kind, weight in kinds for _ in range(weight)]

    def client_operation(self, at_ms: float) -> Operation:
        return Operation(at_ms, *self.draw.choice(self.client_kinds)())

    def trouble(self, at_ms: float) -> Operation:
        return Operation(at_ms, *self.draw.choice(self.trouble_kinds)())

    def devices_of(self, user: str) -> list[int]:
        return [number for number, (of, _) in enumerate(self.layout.devices) if of == user]

    def device(self) -> int:
        return self.draw.randrange(len(self.layout.devices))

    def group(self) -> int:
        return self.draw.randrange(len(self.layout.groups))

    def user(self) -> str:
        return self.draw.choice(self.layout.users)

    def target(self) -> tuple[str, Any]:
        if self.draw.random() < 0.6:
            return "group", self.group()
        return "user", self.user()

    # What clients do

    def send(self) -> tuple[str, tuple[Any, ...]]:
        size = self.draw.choice([0, 0, 20, 300])
        return "send", (self.device(), self.target(), 1, size)

    def burst(self) -> tuple[str, tuple[Any, ...]]:
        return "send", (self.device(), self.target(), self.draw.randint(2, 12), 0)

    def repeat(self) -> tuple[str, tuple[Any, ...]]:
        return "repeat", (self.device(), self.draw.randrange(1000))

    def conflict(self) -> tuple[str, tuple[Any, ...]]:
        return "conflict", (self.device(), self.draw.randrange(1000))

    def join(self) -> tuple[str, tuple[Any, ...]]:
        return "change", (self.device(), "join", self.group(), ())

    def leave(self) -> tuple[str, tuple[Any, ...]]:
        return "change", (self.device(), "leave", self.group(), ())

    def add(self) -> tuple[str, tuple[Any, ...]]:
        users = tuple({self.user(): None for _ in range(self.draw.randint(1, 2))})
        return "change", (self.device(), "add", self.group(), users)

    def remove(self) -> tuple[str, tuple[Any, ...]]:
        users = tuple({self.user(): None for _ in range(self.draw.randint(1, 2))})
        return "change", (self.device(), "remove", self.group(), users)

    def ack(self) -> tuple[str, tuple[Any, ...]]:
        return "cursor", (self.device(), "ack", self.draw.randrange(1000))

    def read(self) -> tuple[str, tuple[Any, ...]]:
        return "cursor", (self.device(), "read", self.draw.randrange(1000))

    def hang_up(self) -> tuple[str, tuple[Any, ...]]:
        away_ms = self.draw.choice([0, 20, 200, 1_000])
        return "hang_up", (self.device(), self.draw.random() < 0.5, away_ms)

    def go_back(self) -> tuple[str, tuple[Any, ...]]:
        return "go_back", (self.device(),)

    def tear_at_token(self) -> tuple[str, tuple[Any, ...]]:
        return "tear_at_token", (self.device(),)

    def look(self) -> tuple[str, tuple[Any, ...]]:
        return "look", (self.device(), self.draw.randrange(1000), self.draw.choice([0, 3, 30]))

    # What goes wrong

    def worker(self) -> int:
        return self.draw.randrange(self.layout.workers)

    def partition(self) -> int:
        return self.draw.randrange(self.layout.partitions)

    def kill(self) -> tuple[str, tuple[Any, ...]]:
        return "kill", (self.worker(), self.draw.randint(0, 3), self.draw.choice([30, 200, 900]))

    def kill_all(self) -> tuple[str, tuple[Any, ...]]:
        return "kill_all", (self.draw.randint(0, 3), self.draw.choice([100, 600]))

    def power_cut(self) -> tuple[str, tuple[Any, ...]]:
        return "power_cut", (self.draw.randint(0, 4), self.tear(), self.draw.choice([100, 600]))

    def cut_at_write(self) -> tuple[str, tuple[Any, ...]]:
        operations = self.draw.choice([0, 1, 1, 1, 2])
        restart_ms = self.draw.choice([100, 600])
        return "cut_at_write", (self.partition(), operations, self.tear(), restart_ms)

    def tear(self) -> int:
        """What a power cut leaves of unsynced writes: nothing, all, or what a seed says."""
        return self.draw.choice(
            [0, 1, self.draw.randint(2, 1 << 40), self.draw.randint(2, 1 << 40)]
        )

    def pause(self) -> tuple[str, tuple[Any, ...]]:
        return "pause", (self.worker(), self.draw.choice([50, 300, 1_500, 2_500, 5_000]))

    def overtake(self) -> tuple[str, tuple[Any, ...]]:
        return "overtake", (
            self.worker(),
            self.draw.choice([50, 300]),
            self.draw.choice([300, 1_000]),
        )

    def cut_link(self) -> tuple[str, tuple[Any, ...]]:
        return "cut_link", (self.draw.randrange(1000),)

    def lose_frame(self) -> tuple[str, tuple[Any, ...]]:
        return "lose_frame", (self.draw.randrange(1000), self.draw.randrange(2))

    def stall_link(self) -> tuple[str, tuple[Any, ...]]:
        return "stall_link", (self.draw.randrange(1000), self.draw.choice([50, 500, 2_000, 4_000]))

    def disk_error(self) -> tuple[str, tuple[Any, ...]]:
        operation = self.draw.choice(["sync", "sync", "sync", "write", "create", "truncate"])
        errors = {"write": [5, 5, 28, -1, -30], "sync": [5, 5, -5]}
        error = self.draw.choice(errors.get(operation, [5]))
        return "disk_error", (self.partition(), operation, self.draw.randint(0, 2), error)

    def disk_full(self) -> tuple[str, tuple[Any, ...]]:
        return "disk_full", (
            self.partition(),
            self.draw.choice([0, 10, 150]),
            self.draw.choice([50, 400, 1_500]),
        )

    def archive_trouble(self) -> tuple[str, tuple[Any, ...]]:
        writes, reads = self.draw.choice(
            [(True, False), (True, False), (True, True), (False, True)]
        )
        length_ms = self.draw.choice([50, 400, 1_500])
        return "archive_trouble", (self.partition(), writes, reads, length_ms)

    def jump(self) -> tuple[str, tuple[Any, ...]]:
        step_ms = self.draw.choice([-3_600_000, -5_000, 5_000, 3_600_000])
        # Keys that seem to come from the future are not remembered for longer than others.
        return "jump", (abs(step_ms) if self.layout.dated_keys else step_ms,)

    def slow_reader(self) -> tuple[str, tuple[Any, ...]]:
        return "slow_reader", (
            self.device(),
            self.draw.choice([60, 400]),
            self.draw.choice([200, 1_000]),
        )
