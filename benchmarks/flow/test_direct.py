"""Messages between pairs beside a relay of as many bytes: rates, and how long one takes.

The relay passes a message on and answers its sender; it stores nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.flow.figures import TABLE, Bar, Curve, Row, Spread, in_turn
from benchmarks.flow.server import Server
from imfast.bench.limit_programs import LimitPrograms

SECTION = "Direct messages: 1,000 connections, 128 bytes"
CONNECTIONS = 1000
SECONDS = 3
MESSAGE_BYTES = 180
"""A send, and a delivery, of a body of 128 bytes in protobuf."""
COMMIT_BYTES = 1024
"""About what one commit holds at 5,000 messages a second."""
PACED_PER_SECOND = 5000


@dataclass(frozen=True)
class Kind:
    """Whether messages are stored, and on how many workers."""

    name: str
    workers: int
    flags: tuple[str, ...] = ()


DURABLE = Kind("durable", 2)
EPHEMERAL = Kind("ephemeral", 1, ("--ephemeral",))

OF_RELAY = Bar(at_least=0.80, of="limit")

RATES = [
    pytest.param(EPHEMERAL, 1, "each", OF_RELAY, id="ephemeral-window-1"),
    pytest.param(EPHEMERAL, 8, "each", OF_RELAY, id="ephemeral-window-8"),
    pytest.param(EPHEMERAL, 16, "batch", Bar(at_least=1.2e6), id="ephemeral-one-write"),
    pytest.param(DURABLE, 1, "each", OF_RELAY, id="durable-window-1"),
    pytest.param(DURABLE, 16, "each", Bar(at_least=120_000), id="durable-window-16"),
    pytest.param(DURABLE, 16, "batch", Bar(at_least=500_000), id="durable-one-write"),
]

LOADS = [1000, 2000, 5000, 10_000, 20_000, 40_000, 80_000]
CURVE = Curve("Direct messages: latency by load", "messages a second", "ms")


def _server(tmp_path: Path, kind: Kind) -> Server:
    # A new one for each run: rows stay in memory.
    return Server(tmp_path / "server", workers=kind.workers)


def _relay(limits: LimitPrograms, run: dict[str, Any], **pace: int) -> Any:
    # What is not the delivery is the answer and the sender's own copy.
    answer = round(run["received_bytes_per_message"]) - MESSAGE_BYTES
    return limits.relay(
        connections=CONNECTIONS, bytes=MESSAGE_BYTES, answer=answer, ms=SECONDS * 1000, **pace
    )


@pytest.mark.parametrize(("kind", "window", "write", "bar"), RATES)
def test_direct_rate(
    benchmark: Any,
    tmp_path: Path,
    limits: LimitPrograms,
    rounds: int,
    kind: Kind,
    window: int,
    write: str,
    bar: Bar,
) -> None:
    closed = ("--window", window, "--write", write, "--seconds", SECONDS, *kind.flags)

    def run(_: list[Any]) -> dict[str, Any]:
        with _server(tmp_path, kind) as server:
            return server.run("direct", "tcp", CONNECTIONS, *closed)

    found = in_turn(benchmark, rounds, run, lambda before: _relay(limits, before[0], window=window))
    ours = [run["messages_per_second"] for run, _ in found]
    theirs = [at["messages"] / at["seconds"] for _, at in found]
    how = f"window {window}" + (" in one write" if write == "batch" else "")
    figure = f"{kind.name}, {how}: messages/s"
    relay = "relay, a write each" if write == "batch" else "relay"
    if bar.of:
        TABLE.rows.append(Row.beside(figure, ours, relay, theirs, bar))
    else:
        TABLE.rows += [
            Row.beside(figure, ours, relay, theirs),
            Row.alone("- the same", ours, bar),
        ]
    costs = [run["server_cpu_us_per_message"] for run, _ in found]
    TABLE.rows.append(Row.alone("- µs of server CPU a message", costs))


def _paced(tmp_path: Path, kind: Kind, rate: int) -> dict[str, Any]:
    with _server(tmp_path, kind) as server:
        paced = ("--rate", rate, "--seconds", SECONDS, *kind.flags)
        return server.run("direct", "tcp", CONNECTIONS, *paced)


def _ms(runs: list[Any], name: str) -> list[float]:
    """Of the generator's results, and of the limits'."""
    return [(run.get("latency") or run)[f"{name}_us"] / 1e3 for run in runs]


def test_direct_latency_ephemeral(
    benchmark: Any, tmp_path: Path, limits: LimitPrograms, rounds: int
) -> None:
    found = in_turn(
        benchmark,
        rounds,
        lambda _: _paced(tmp_path, EPHEMERAL, PACED_PER_SECOND),
        lambda before: _relay(limits, before[0], rate=PACED_PER_SECOND),
    )
    runs, relays = (list(one) for one in zip(*found, strict=True))
    assert not any(run["saturated"] for run in runs), "the generator measured itself"
    for name, bar in (
        ("p50", Bar(at_most=2.0, of="limit")),
        ("p99", Bar(at_most=2.5, of="limit")),
        ("max", None),
    ):
        figure = f"ephemeral at {PACED_PER_SECOND:,}/s: {name}, ms"
        TABLE.rows.append(Row.beside(figure, _ms(runs, name), "relay", _ms(relays, name), bar))


def test_direct_latency_durable(
    benchmark: Any, tmp_path: Path, limits: LimitPrograms, rounds: int
) -> None:
    found = in_turn(
        benchmark,
        rounds,
        lambda _: _paced(tmp_path, DURABLE, PACED_PER_SECOND),
        lambda _: limits.sync_write(tmp_path / "limit", size=COMMIT_BYTES, ms=SECONDS * 1000),
        lambda before: _relay(limits, before[0], rate=PACED_PER_SECOND),
    )
    runs, syncs, relays = (list(one) for one in zip(*found, strict=True))
    assert not any(run["saturated"] for run in runs), "the generator measured itself"
    for name, factor, extra_ms in (("p50", 1, 1), ("p99", 2, 4)):
        ours, theirs = _ms(runs, name), _ms(syncs, name)
        over = [one - factor * sync for one, sync in zip(ours, theirs, strict=True)]
        figure = f"durable at {PACED_PER_SECOND:,}/s: {name}, ms"
        TABLE.rows += [
            replace(
                Row.beside(figure, ours, "write + fdatasync", theirs),
                bar=f"≤ {factor} x limit + {extra_ms}",
                met=Bar(at_most=extra_ms).met(Spread.of(over)),
            ),
            Row.beside("- the same", ours, "relay", _ms(relays, name)),
        ]
    TABLE.rows.append(
        Row.beside("- longest, ms", _ms(runs, "max"), "write + fdatasync", _ms(syncs, "max"))
    )


@pytest.mark.full
@pytest.mark.parametrize("rate", LOADS)
def test_latency_by_load(
    benchmark: Any, tmp_path: Path, limits: LimitPrograms, rounds: int, rate: int
) -> None:
    """The points of a plot; a load at which the generator was saturated gives none."""
    found = in_turn(
        benchmark,
        rounds,
        lambda _: _paced(tmp_path, EPHEMERAL, rate),
        lambda before: _relay(limits, before[0], rate=rate),
        lambda _: _paced(tmp_path, DURABLE, rate),
    )
    ephemeral, relays, durable = (list(one) for one in zip(*found, strict=True))
    for series, runs in (("ephemeral", ephemeral), ("durable", durable), ("relay", relays)):
        if any(run.get("saturated") for run in runs):
            continue
        for name in ("p50", "p99"):
            TABLE.point("latency_by_load", CURVE, f"{series} {name}", rate, _ms(runs, name))
    TABLE.rows.append(
        Row.beside(
            f"at {rate:,}/s, ephemeral: p99, ms", _ms(ephemeral, "p99"), "relay", _ms(relays, "p99")
        )
    )
    TABLE.rows.append(Row.alone(f"at {rate:,}/s, durable: p99, ms", _ms(durable, "p99")))
