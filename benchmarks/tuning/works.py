"""What a server is made to do while a knob is turned, and what is measured of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.flow.server import Server, messages_lost
from benchmarks.tuning.figures import Measures
from imfast.bench.generator import Generator

__all__ = ["Idle", "Kills", "Loads", "Returns", "Stalled", "Work"]

WARM_UP_SECONDS = 0.5
PATIENCE_SECONDS = 30.0

END = b'data: {"caughtUp"'
ROW = b'data: {"message"'

Found = dict[str, float]


class Work(Protocol):
    """One kind of work."""

    text: str
    """In words."""
    per: str
    """What is counted: a message, a delivery, a connection."""

    def measure(self, server: Server, seconds: float, busy_cores: list[float]) -> Found:
        """Works on a fresh server for about `seconds`; the figures by the names of `Measures`."""


def _timed(seconds: float) -> tuple[object, ...]:
    return ("--seconds", seconds, "--warmup", WARM_UP_SECONDS)


def _latencies(latency: dict[str, Any]) -> Found:
    return {Measures.P50: latency["p50_us"] / 1e3, Measures.P99: latency["p99_us"] / 1e3}


@dataclass(frozen=True)
class Loads:
    """Two loads on one server: as much as goes through, and a constant rate."""

    text: str
    scenario: str
    connections: int
    flat_out: tuple[object, ...]
    paced: tuple[object, ...]
    """Empty where the scenario has no rate."""
    transport: str = "ws-proto"
    per: str = "message"
    """Its name in the fields of the generator's result too."""
    rate_field: str = "messages_per_second"

    def measure(self, server: Server, seconds: float, busy_cores: list[float]) -> Found:
        """See `Work`."""

        def run(*arguments: object) -> dict[str, Any]:
            given = (*arguments, *_timed(seconds))
            found = server.run(self.scenario, self.transport, self.connections, *given)
            busy_cores.append(round(found.get("machine_busy_cores", 0.0), 2))
            return found

        flat_out = run(*self.flat_out)
        paced = run(*self.paced) if self.paced else flat_out
        field = f"server_cpu_us_per_{self.per}"
        costs = {Measures.CPU: flat_out[field]}
        if paced is not flat_out:
            costs[Measures.CPU_PACED] = paced[field]
        latency = paced.get("latency") or paced["answer_latency"]
        return {Measures.RATE: flat_out[self.rate_field], **_latencies(latency), **costs}


@dataclass(frozen=True)
class Stalled:
    """A fan-out beside subscribers that do not read: what the others notice, and what it takes."""

    text: str
    reading: int
    stalled: int
    load: tuple[object, ...]
    per: str = "delivery"

    def measure(self, server: Server, seconds: float, busy_cores: list[float]) -> Found:
        """See `Work`."""
        given = ("--stalled", self.stalled, *self.load, *_timed(seconds))
        found = server.run("slow-consumers", "ws-proto", self.reading, *given)
        busy_cores.append(round(found.get("machine_busy_cores", 0.0), 2))
        memory = found["server_pss_bytes"]
        return {
            **_latencies(found["latency"]),
            Measures.CPU_PACED: found["server_cpu_us_per_delivery"],
            Measures.MEMORY: max(0, memory["most"] - memory["before"]) / self.stalled / 1024,
        }


@dataclass(frozen=True)
class Idle:
    """Connections that say nothing but their heartbeats."""

    text: str
    connections: int
    per: str = "connection and second"

    def measure(self, server: Server, seconds: float, busy_cores: list[float]) -> Found:
        """See `Work`."""
        with server.generator("idle", "ws-proto", self.connections) as idle:
            idle.event("ready")
            # As long as it takes for everybody's turn to come where turns are frequent.
            time.sleep(WARM_UP_SECONDS)
            before, began = _cpu(server), time.monotonic()
            time.sleep(2 * seconds)
            spent = (_cpu(server) - before) / (time.monotonic() - began)
        busy_cores.append(round(spent, 2))
        return {Measures.CPU_PACED: spent * 1e6 / self.connections}


def _cpu(server: Server) -> float:
    """Seconds that all threads of all workers have run (schedstat)."""
    tasks = [task for pid in server.worker_pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@dataclass(frozen=True)
class Kills:
    """Each worker is killed once; how long until its successor serves."""

    text: str
    per: str = "kill"

    def measure(self, server: Server, seconds: float, busy_cores: list[float]) -> Found:
        """See `Work`."""
        times = []
        for index in range(len(server.worker_pids)):
            # Spares are forked when all serve, and need a moment too.
            time.sleep(seconds)
            before = server.worker_pids
            began = time.monotonic()
            os.kill(before[index], signal.SIGKILL)
            while server.reread().worker_pids[index] == before[index]:
                assert time.monotonic() < began + PATIENCE_SECONDS, "no successor"
                time.sleep(0.001)
            times.append((time.monotonic() - began) * 1e3)
        busy_cores.append(0.0)
        return {Measures.P50: statistics.median(times), Measures.P99: max(times)}


@dataclass(frozen=True)
class Returns:
    """Users come back by events to what they missed, beside messages of others."""

    text: str
    users: int
    live: tuple[object, ...]
    per: str = "row"

    def measure(self, server: Server, seconds: float, busy_cores: list[float]) -> Found:
        """See `Work`."""
        tokens = server.tokens(self.users)
        bearers = [line.split()[1] for line in tokens.read_text().splitlines()]
        known = [_events(server, bearer, None)[0] for bearer in bearers]
        with Generator(
            "direct",
            *("--port", server.port("http"), "--transport", "ws-proto", "--tokens", tokens),
            *("--connections", self.users, "--window", 64, "--write", "batch"),
            *("--warmup", 0, "--seconds", 0.3),
        ) as generator:
            missed = generator.result()
        assert not messages_lost(missed), missed
        ended = threading.Event()
        rates: list[float] = []

        def come_back() -> None:
            while not ended.is_set():
                for bearer, sync in zip(bearers, known, strict=True):
                    began = time.monotonic()
                    rows = _events(server, bearer, sync)[1]
                    rates.append(rows / (time.monotonic() - began))

        returning = threading.Thread(target=come_back)
        returning.start()
        try:
            found = server.run("direct", "ws-proto", 100, *self.live, *_timed(seconds))
        finally:
            ended.set()
            returning.join()
        busy_cores.append(round(found.get("machine_busy_cores", 0.0), 2))
        return {Measures.RATE: statistics.median(rates), **_latencies(found["latency"])}


def _events(server: Server, bearer: str, sync: str | None) -> tuple[str, int]:
    """Listens until everything that was missed has come; the newest sync token, and the rows."""
    head = f"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bearer}\r\n"
    if sync is not None:
        head += f"Last-Event-ID: {sync}\r\n"
    seen, at = bytearray(), -1
    with socket.create_connection(("127.0.0.1", server.port("http"))) as connection:
        connection.settimeout(PATIENCE_SECONDS)
        connection.sendall(f"{head}\r\n".encode())
        while at < 0 or not seen.endswith(b"\n\n\r\n"):
            received = connection.recv(1 << 20)
            assert received, "the stream ended"
            start = max(0, len(seen) - len(END))
            seen += received
            at = seen.find(END, start) if at < 0 else at
    event = json.loads(seen[at:].partition(b"\n")[0].removeprefix(b"data: "))
    return event["caughtUp"]["token"], seen.count(ROW)
