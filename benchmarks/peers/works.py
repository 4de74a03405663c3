"""What every server is asked to do, and the figures that come out of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from imfast.bench.generator import Event
from imfast.bench.limit_programs import LimitPrograms

__all__ = ["QUICK", "ROUNDS", "SECONDS", "WORKS", "Figure", "Work"]

QUICK = os.environ.get("PEERS_QUICK", "") not in ("", "0")
"""The main figures only, once each: at most 8 minutes."""

ROUNDS = 1 if QUICK else 2
SECONDS = 2
SLOW_SECONDS = 6
WARM_UP_SECONDS = 0.5
BODY_BYTES = 128
FRAME_BYTES = BODY_BYTES + 4
"""A WebSocket frame of such a body."""

DIRECT_CONNECTIONS = 1000
DIRECT_RATE = 5000
PACED_SECONDS = 4
PACED_RATE = 2
"""Slow enough that the slowest peer is done with a message before the next one."""


@dataclass(frozen=True)
class Figure:
    """One number of a run."""

    name: str
    path: tuple[str, ...]
    scale: float = 1.0

    def of(self, run: Event) -> float:
        """Reads it from a run of the generator, or of a limit in its terms."""
        value: Any = run
        for key in self.path:
            value = value[key]
        return float(value) * self.scale


@dataclass(frozen=True)
class Work:
    """One scenario of the generator."""

    key: str
    """To select it by."""
    name: str
    scenario: str
    receivers: int
    arguments: Sequence[object]
    figures: tuple[Figure, ...]
    workers: int
    """Of imfast, as many as its own benchmarks use for this; peers use what they start."""
    coalesced: int = 0
    """Frames a send of the fan-out's limit."""
    in_quick: bool = False
    slow_seconds: float = SECONDS
    """How long the slow peers are measured."""

    def run_arguments(self, *, slow: bool) -> Sequence[object]:
        """Those of a run; the last of two equal options counts."""
        return (*self.arguments, "--seconds", self.slow_seconds) if slow else self.arguments

    @property
    def connections(self) -> int:
        """The publisher's too."""
        return self.receivers + (self.scenario == "fanout")

    def limit(self, limits: LimitPrograms) -> Event:
        """The kernel's part of it with no logic, in the generator's terms."""
        if self.scenario == "fanout":
            run = limits.fan_out(
                connections=self.receivers,
                frames=self.coalesced,
                size=FRAME_BYTES,
                ms=SECONDS * 1000,
            )
            sender = run["sender"]
            return {
                "delivered_per_second": run["frames"] / run["seconds"],
                "server_cpu_us_per_delivery": sender["cpu_seconds"] * 1e6 / sender["frames"],
            }
        given = dict(zip(self.arguments[::2], self.arguments[1::2], strict=True))
        how = "rate" if "--rate" in given else "window"
        pace = {how: int(str(given[f"--{how}"]))}
        # Only the delivery: peers send neither an answer nor a copy.
        run = limits.relay(
            connections=self.receivers, bytes=FRAME_BYTES, answer=0, ms=SECONDS * 1000, **pace
        )
        if how == "rate":
            return {"latency": run}
        return {"messages_per_second": run["messages"] / run["seconds"]}


def _arguments(*more: object, seconds: float = SECONDS) -> tuple[object, ...]:
    return ("--seconds", seconds, "--warmup", WARM_UP_SECONDS, *more)


RATE = Figure("delivered/s", ("delivered_per_second",))
COST = Figure("µs of server CPU a delivery", ("server_cpu_us_per_delivery",))
MESSAGES = Figure("messages/s", ("messages_per_second",))
MESSAGE_COST = Figure("µs of server CPU a message", ("server_cpu_us_per_message",))
LATENCIES = tuple(
    Figure(f"{quantile}, ms", ("latency", f"{quantile}_us"), 1e-3) for quantile in ("p50", "p99")
)

fan_out = partial(Work, scenario="fanout", workers=1)
direct = partial(Work, scenario="direct", workers=2, receivers=DIRECT_CONNECTIONS)

WORKS: tuple[Work, ...] = (
    *(
        fan_out(
            f"fan-out-{subscribers}",
            f"fan-out to {subscribers:,}, window {window}",
            receivers=subscribers,
            arguments=_arguments("--window", window),
            figures=(RATE, COST),
            coalesced=16,
            in_quick=subscribers >= 1000,
            slow_seconds=SLOW_SECONDS if subscribers > 1000 else SECONDS,
        )
        for subscribers, window in ((100, 64), (1000, 32), (9000, 16))
    ),
    fan_out(
        "paced-9000",
        f"one message to 9,000 at a time, {PACED_RATE} a second",
        receivers=9000,
        arguments=_arguments("--rate", PACED_RATE, seconds=PACED_SECONDS),
        figures=(COST, *LATENCIES),
        coalesced=1,
        slow_seconds=PACED_SECONDS,
    ),
    direct(
        "direct-paced",
        f"1:1 at {DIRECT_RATE:,}/s",
        arguments=_arguments("--rate", DIRECT_RATE),
        figures=(*LATENCIES, MESSAGE_COST),
        in_quick=True,
    ),
    *(
        direct(
            f"direct-window-{window}",
            f"1:1, window {window}",
            arguments=_arguments("--window", window),
            figures=(MESSAGES, MESSAGE_COST),
            in_quick=window == 16,
        )
        for window in (8, 16)
    ),
)
