"""One run of one plan, from an empty node to the oracle's word."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import orjson

from tests.simulation.device import RETRY_MS, Device, Request
from tests.simulation.last_word import say_last_words
from tests.simulation.native import engine_module
from tests.simulation.node import use_sequencer
from tests.simulation.oracle import check_all
from tests.simulation.plan import Operation, Plan, direct_id, group_id
from tests.simulation.prediction import Outcome, Prediction, Sent
from tests.simulation.scheduler import MS, Scheduler
from tests.simulation.trouble import Trouble

__all__ = ["Result", "Simulation", "run_plan"]

WALL_START_MS = 1_767_225_600_000
"""As in rust/engine/src/system/simulated."""
SETTLE_MS = 60_000
"""After the last trouble everything is answered within this time of the world."""
CALM_MS = 3_000
"""And what was committed is with everybody who is online."""


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    failure: str
    """Empty when nothing is wrong."""
    steps: int
    """Reads, commits and frames that a client got."""
    acknowledged: int
    virtual_ms: float
    trace: int
    """A checksum of what every client saw and when: equal for equal plans."""


class Simulation:
    """Joins clients, workers and troubles."""

    def __init__(self, plan: Plan, *, strict: bool = True) -> None:
        layout = plan.layout
        self.plan = plan
        self.world: Any = engine_module().SimulatedWorld(
            plan.seed, layout.partitions, layout.route_buckets
        )
        self.scheduler = Scheduler(plan.seed, layout, self.world, strict=strict)
        self.prediction = Prediction(keys_expire=layout.dated_keys)
        self.devices = [
            Device(number, user, transport, layout.partitions, self.prediction)
            for number, (user, transport) in enumerate(layout.devices)
        ]
        self.trouble = Trouble(self.scheduler)
        self.trouble.streams_of = self.streams_of
        self.trouble.kinds["slow_reader"] = self.slow_reader
        self.clients = {
            "send": self.send, "repeat": self.repeat, "conflict": self.conflict,
            "create": self.create, "change": self.change, "cursor": self.cursor,
            "hang_up": self.hang_up, "go_back": self.go_back,
            "tear_at_token": self.tear_at_token, "look": self.look,
        }  # fmt: skip
        self.worker_of: dict[int, int] = {}
        self.unsettled = 0
        self.changed_ns = 0
        self.trace = 0

    # A run

    def run(self) -> None:
        """Raises AssertionError where a promise is broken."""
        scheduler = self.scheduler
        for index in range(self.plan.layout.workers):
            scheduler.start(index)
        for device in self.devices:
            scheduler.after_ms(scheduler.draw.random() * 5, self.connect, device)
        for operation in self.plan.operations:
            scheduler.at(int(operation.at_ms * MS), self.operate, operation)
        scheduler.run_until(int(self.plan.end_ms * MS))
        self.trouble.heal()
        for device in self.devices:
            device.tears_at_token = False
        limit_ns = scheduler.now_ns + SETTLE_MS * MS
        scheduler.run_until(limit_ns, self.settled)
        assert self.settled(), f"not settled in time: {self.unanswered()}"
        say_last_words(self)
        self.read_histories()
        scheduler.run_until(limit_ns + SETTLE_MS * MS, lambda: self.unsettled == 0)
        assert self.unsettled == 0, f"histories not answered: {self.unanswered()}"
        check_all(self.prediction, self.devices)

    def settled(self) -> bool:
        calm = self.scheduler.now_ns - self.changed_ns >= CALM_MS * MS
        return calm and self.unsettled == 0 and all(device.caught_up for device in self.devices)

    def unanswered(self) -> list[str]:
        found = []
        for device in self.devices:
            state = "caught up" if device.caught_up else "not caught up"
            waiting = [f"{r.verb} {r.body}" for r in device.requests.values()]
            if waiting or not device.caught_up:
                found.append(f"{device} ({state}): {waiting}")
        return found

    def operate(self, operation: Operation) -> None:
        act = self.clients.get(operation.kind) or self.trouble.kinds[operation.kind]
        act(*operation.arguments)

    # Connections

    def connect(self, device: Device) -> None:
        if device.stream is not None or self.scheduler.now_ns < device.away_until_ns:
            return
        worker = self.scheduler.draw.randrange(self.plan.layout.workers)
        stream: int = self.world.dial(worker, device.transport)
        device.stream = stream
        self.worker_of[stream] = worker
        if device.capacity:
            self.world.set_capacity(stream, 1, device.capacity)
        self.scheduler.client_of[stream] = lambda: self.receive(device, stream)
        self.transmit(device, [device.first_frame()])

    def disconnect(self, device: Device, again_ms: float) -> None:
        """The device's end is closed, or known to be dead."""
        if device.stream is not None:
            self.scheduler.client_of.pop(device.stream, None)
            self.worker_of.pop(device.stream, None)
            if device.stream not in self.scheduler.frozen:
                self.world.close(device.stream)
            device.stream = None
            device.connected = device.caught_up = False
        device.away_until_ns = self.scheduler.now_ns + int(again_ms * MS)
        self.scheduler.at(device.away_until_ns, self.connect, device)
        self.scheduler.carry_touched()

    def streams_of(self, index: int) -> list[tuple[int, Any]]:
        def lose(device: Device) -> Any:
            return lambda: self.disconnect(device, 30)

        return [
            (device.stream, lose(device))
            for device in self.devices
            if device.stream is not None and self.worker_of[device.stream] == index
        ]

    def transmit(self, device: Device, frames: list[dict[str, Any]]) -> None:
        if device.stream is not None:
            for frame in frames:
                self.world.send(device.stream, orjson.dumps(frame))
            self.scheduler.carry_touched()

    def receive(self, device: Device, stream: int) -> None:
        if device.stream != stream:
            return
        data, more = self.world.receive(stream)
        if len(data) > 2:
            self.changed_ns = self.scheduler.now_ns if b'"seq"' in data else self.changed_ns
            self.trace = crc32(
                data, crc32(b"%d %d" % (device.number, self.scheduler.now_ns), self.trace)
            )
            began, repeat = device.take(data)
            if began:
                self.transmit(device, device.again())
            for request in repeat:
                self.scheduler.after_ms(RETRY_MS, self.ask, device, request)
            if device.torn:
                device.torn = False
                self.tear(device, 20)
                return
        if not more:
            self.disconnect(device, 20 + 60 * self.scheduler.draw.random())

    def ask(self, device: Device, request: Request) -> None:
        frame = device.ask(request)
        if device.connected:
            self.transmit(device, [frame])

    def request(
        self,
        device: Device,
        verb: str,
        body: dict[str, Any],
        done: Any,
        sent: Sent | None = None,
    ) -> None:
        self.unsettled += 1

        def settled(outcome: Outcome) -> None:
            self.unsettled -= 1
            self.changed_ns = self.scheduler.now_ns
            done(outcome)

        self.ask(device, Request(verb, body, settled, sent))

    # What clients do

    def group_of(self, group: int) -> str:
        creator, key = self.plan.layout.groups[group]
        return group_id(creator, key)

    def send(self, number: int, target: tuple[str, Any], count: int, size: int) -> None:
        device = self.devices[number]
        kind, whom = target
        if whom == device.user:
            return  # a conversation has two users
        if kind == "user":
            conversation, to = direct_id(device.user, whom), {"user": whom}
        else:
            conversation = self.group_of(whom)
            to = {"group": conversation}
        known = [
            row for (of, _), row in self.prediction.rows.items()
            if of == conversation and row.kind == "event"
        ]  # fmt: skip
        joined = any(
            device.user in (row.author, *row.content.split())
            for row in known
            if row.content.split()[0] in ("created", "joined")
        )
        for _ in range(count):
            name = f"k{len(self.prediction.sends)}"
            key = self.dated(name) if self.plan.layout.dated_keys else name
            text = f"{name}{'.' * size}"
            sent = Sent(device.user, conversation, to, key, text, joined_before=joined)
            self.prediction.sends[key] = sent
            body = {"to": to, "key": key, "text": text}
            self.ask_to_send(device, sent, body)

    def dated(self, name: str) -> str:
        """A UUIDv7 of this time by the clients' clocks, which do not jump."""
        ms = WALL_START_MS + self.scheduler.now_ns // MS
        digits = f"{ms:012x}7{crc32(name.encode()):019x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def say(self, device: Device, conversation: str) -> Sent:
        """One message to a conversation that there is."""
        key = f"k{len(self.prediction.sends)}"
        to = {"conversation": conversation}
        sent = Sent(device.user, conversation, to, key, key, joined_before=True)
        self.prediction.sends[key] = sent
        self.ask_to_send(device, sent, {"to": to, "key": key, "text": key})
        return sent

    def ask_to_send(self, device: Device, sent: Sent, body: dict[str, Any]) -> None:
        self.request(device, "send", body, lambda o: self.prediction.answered(sent, o), sent)

    def earlier(self, device: Device, choice: int) -> Sent | None:
        own = [sent for sent in self.prediction.sends.values() if sent.user == device.user]
        return own[choice % len(own)] if own else None

    def repeat(self, number: int, choice: int) -> None:
        """The same again under the same key, answered or not."""
        sent = self.earlier(self.devices[number], choice)
        if sent is not None:
            body = {"to": sent.to, "key": sent.key, "text": sent.text}
            self.ask_to_send(self.devices[number], sent, body)

    def conflict(self, number: int, choice: int) -> None:
        sent = self.earlier(self.devices[number], choice)
        if sent is not None and sent.outcome is not None and sent.outcome.body is not None:
            body = {"to": sent.to, "key": sent.key, "text": f"not {sent.text}"}
            self.request(
                self.devices[number], "send", body, lambda o: self.prediction.conflicted(sent, o)
            )

    def create(
        self, number: int, group: int, key: str, members: tuple[str, ...], opens: bool
    ) -> None:
        body = {"create": {"key": key, "title": key, "members": list(members), "open": opens}}
        conversation = self.group_of(group)

        def done(outcome: Outcome) -> None:
            assert outcome.body is not None, f"group {key} was not made: {outcome.error}"
            assert outcome.body["conversation"] == conversation

        self.request(self.devices[number], "group", body, done)

    def change(self, number: int, action: str, group: int, users: tuple[str, ...]) -> None:
        body: dict[str, Any] = {
            "conversation": self.group_of(group),
            "key": f"c{self.scheduler.planned}",
        }
        if users:
            body["users"] = list(users)
        self.request(self.devices[number], "group", {action: body}, lambda _: None)

    def cursor(self, number: int, verb: str, choice: int) -> None:
        device = self.devices[number]
        if device.view:
            conversation = list(device.view)[choice % len(device.view)]
            body = {"conversation": conversation, "seq": max(device.view[conversation])}
            self.prediction.says(device.user, verb, conversation, body["seq"])
            self.request(device, verb, body, lambda _: None)

    def look(self, number: int, choice: int, back: int) -> None:
        """A page of a history: whole, and with all that this user was told is sent."""
        device = self.devices[number]
        if not device.view:
            return
        conversation = list(device.view)[choice % len(device.view)]
        own = self.prediction.last_sent(device.user, conversation)
        after = max(own - back, 0)
        # One that was overtaken answers from what it had, until it is gone.
        exact = all(operation.kind != "overtake" for operation in self.plan.operations)

        def done(outcome: Outcome) -> None:
            if outcome.body is None:
                return
            rows = [row for item in outcome.body.get("items", []) for row in item.items()]
            for kind, row in rows:
                self.prediction.seen(f"{device}'s page", kind, row)
            seqs = [row["seq"] for _, row in rows]
            assert seqs == sorted(set(seqs)), f"{device} read {seqs} of {conversation}"
            assert own <= after or own in seqs or not exact, (
                f"{device} was told of {own} and read {seqs} of {conversation} behind {after}"
            )

        body = {"conversation": conversation, "after": after, "limit": 40}
        self.request(device, "history", body, done)

    def hang_up(self, number: int, tell: bool, away_ms: float) -> None:
        """A device goes: with a word, or by losing the network in the middle of anything."""
        device = self.devices[number]
        if device.stream is not None and tell:
            self.disconnect(device, away_ms)
        elif device.stream is not None:
            self.tear(device, away_ms)

    def tear(self, device: Device, away_ms: float) -> None:
        stream = device.stream
        told = self.world.cut(stream)
        self.disconnect(device, away_ms)
        for index in told:
            self.scheduler.wake(index)

    def tear_at_token(self, number: int) -> None:
        """A device keeps a token and loses its connection before the next frame."""
        self.devices[number].tears_at_token = True

    def go_back(self, number: int) -> None:
        """A device comes back as it was when it stored its token but one."""
        device = self.devices[number]
        if device.stream is not None:
            self.disconnect(device, 10)
            device.token = device.older_token

    def slow_reader(self, number: int, capacity: int, length_ms: float) -> None:
        """A device's connection takes little at a time."""
        device = self.devices[number]
        device.capacity = capacity
        if device.stream is not None:
            self.world.set_capacity(device.stream, 1, capacity)
        self.scheduler.after_ms(length_ms, self.read_again, device)

    def read_again(self, device: Device) -> None:
        device.capacity = 0
        if device.stream is not None:
            self.world.set_capacity(device.stream, 1, 256 * 1024)
            self.scheduler.wake(self.worker_of[device.stream])

    # The end

    def read_histories(self) -> None:
        """Everybody reads what there is, so that the oracle knows what the server has."""
        for device in {device.user: device for device in self.devices}.values():
            self.read_list(device)
            for conversation in dict.fromkeys(of for of, _ in self.prediction.rows):
                self.read_page(device, conversation, 0)

    def read_list(self, device: Device) -> None:
        def done(outcome: Outcome) -> None:
            assert outcome.body is not None, f"conversations got {outcome.error}"
            self.prediction.summaries[device.user] = outcome.body.get("items", [])

        self.request(device, "conversations", {"limit": 200}, done)

    def read_page(self, device: Device, conversation: str, after: int) -> None:
        body = {"conversation": conversation, "after": after, "limit": 200}

        def done(outcome: Outcome) -> None:
            if outcome.body is None:
                assert outcome.error == "not_a_member", f"history got {outcome.error}"
                return
            items = outcome.body.get("items", [])
            for item in items:
                [(kind, row)] = item.items()
                self.prediction.seen(f"{device}'s history", kind, row)
            if outcome.body.get("more"):
                self.read_page(device, conversation, row["seq"])

        self.request(device, "history", body, done)


def run_plan(plan: Plan, fault: str = "") -> Result:
    """Run a plan, with a deliberate fault or without."""
    engine_module().inject_fault(fault)
    os.environ["IMFAST_FAULT"] = fault
    use_sequencer(faulty=bool(fault))
    simulation = Simulation(plan, strict=not fault)
    failure = ""
    try:
        simulation.run()
    except AssertionError as error:
        failure = str(error) or repr(error)
    finally:
        engine_module().inject_fault("")
        os.environ["IMFAST_FAULT"] = ""
    scheduler = simulation.scheduler
    steps = simulation.world.reads + scheduler.commits
    steps += sum(device.frames for device in simulation.devices)
    return Result(
        failure, steps, simulation.prediction.acknowledged, scheduler.now_ns / MS, simulation.trace
    )
