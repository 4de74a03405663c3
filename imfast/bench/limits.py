"""The limit of a scenario: the same bytes on as many connections, with no logic, right after it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imfast.bench.limit_programs import LimitPrograms

__all__ = ["Limit", "measure_limit"]

RUN_MS_MAX = 3000
FRAME_OVERHEAD_BYTES = 52
"""Of a message in protobuf beside its body; the relay's answers make up for other encodings."""
COMMIT_BYTES = 1024
ACCEPTS_MAX = 9000
RELAY_BYTES_MAX = 4000
"""What `relay.c` takes."""

Result = dict[str, Any]


@dataclass(frozen=True)
class Limit:
    """What the kernel does for the same bytes."""

    name: str
    """What was run, in a few words."""
    values: dict[str, float] = field(default_factory=dict)
    """By the name that `figures` gives to the server's figure."""
    commit: dict[str, float] = field(default_factory=dict)
    """p50, p99 and longest write + fdatasync in µs, of a run that stored its messages."""


def measure_limit(
    programs: LimitPrograms, result: Result, options: dict[str, Any], *, disk: Path | None
) -> Limit | None:
    """Runs the limit of what was just measured; none where a scenario has none.

    Args:
        result: the generator's.
        options: `scenario`, and `rate`, `window`, `body_bytes` as they were given to it.
        disk: a folder on the server's disk, when that is here and messages were stored.
    """
    scenario = options["scenario"]
    if scenario == "fanout":
        return _fan_out(programs, result, options["rate"])
    if scenario == "direct":
        return _relay(programs, result, options, disk)
    if scenario in ("connect", "storm"):
        return _accept(programs, result)
    return None


def _ms(result: Result) -> int:
    """As long as the run itself, up to a few seconds."""
    seconds: float = result["seconds"]
    return min(RUN_MS_MAX, round(seconds * 1000))


def _fan_out(programs: LimitPrograms, result: Result, rate: float | None) -> Limit:
    frames = max(1.0, round(result["frames_per_send"], 2))
    paced = rate / frames if rate else 0
    at = programs.fan_out(
        connections=result["subscribers"],
        frames=frames,
        size=round(result["wire_bytes_per_frame"]),
        ms=_ms(result),
        rate=paced,
    )
    sender = at["sender"]
    values = {"server_cpu_us_per_delivery": sender["cpu_seconds"] * 1e6 / sender["frames"]}
    if not rate:
        values["delivered_per_second"] = at["frames"] / at["seconds"]
    return Limit(f"send() of {frames:.3g} frames", values)


def _relay(
    programs: LimitPrograms, result: Result, options: dict[str, Any], disk: Path | None
) -> Limit:
    size = min(options["body_bytes"] + FRAME_OVERHEAD_BYTES, RELAY_BYTES_MAX)
    answer = max(1, round(result["received_bytes_per_message"]) - size)
    # The two are told apart by their lengths.
    answer += answer == size
    pace = {"rate": options["rate"]} if options["rate"] else {"window": options["window"]}
    at = programs.relay(
        connections=result["connections"],
        bytes=size,
        answer=min(answer, RELAY_BYTES_MAX),
        ms=_ms(result),
        **pace,
    )
    values = (
        {"p50_us": at["p50_us"], "p99_us": at["p99_us"], "max_us": at["max_us"]}
        if options["rate"]
        else {"messages_per_second": at["messages"] / at["seconds"]}
    )
    commit = {}
    if disk is not None:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=disk) as folder:
            sync = programs.sync_write(Path(folder) / "limit", size=COMMIT_BYTES, ms=_ms(result))
        commit = {name: sync[name] for name in ("p50_us", "p99_us", "max_us")}
    return Limit("relay, stores nothing", values, commit)


def _accept(programs: LimitPrograms, result: Result) -> Limit:
    at = programs.accept(connections=min(result["connections"], ACCEPTS_MAX))
    cpu_us = at["cpu_seconds"] * 1e6 / at["connections"]
    return Limit(
        "accept + 101, no token",
        {
            "connects_per_second": at["connections"] / at["seconds"],
            "server_cpu_us_per_connect": cpu_us,
            "server_cpu_us_per_return": cpu_us,
        },
    )
