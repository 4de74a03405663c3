"""One group, subscribers on one worker: messages delivered beside pre-framed sends of the same.

The windows keep the coalescing of what is compared alike: the sender puts as many frames into a
send as imfast did in that run, in the mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.flow.figures import TABLE, Bar, Curve, Row, Spread, in_turn
from benchmarks.flow.server import Server
from imfast.bench.limit_programs import LimitPrograms

SECTION = "Fan-out: one group, one worker, messages of 128 bytes"
SECONDS = 3

OF_LIMIT = Bar(at_least=0.80, of="limit")
OF_EPHEMERAL = Bar(at_least=0.75, of="ephemeral")

WINDOWS = [
    pytest.param(100, 64, id="100"),
    pytest.param(300, 48, id="300", marks=pytest.mark.full),
    pytest.param(1000, 32, id="1000"),
    pytest.param(3000, 24, id="3000", marks=pytest.mark.full),
    pytest.param(9000, 16, id="9000"),
]

CURVE = Curve(
    "Fan-out: rate by subscribers", "subscribers (windows 64, 48, 32, 24, 16)", "delivered/s"
)

FLAT_OUT = 1000
FLAT_OUT_WINDOW = 2048
FLAT_OUT_FLAGS = (
    *("--fan-out-slice-s", "100ms"),
    *("--fan-out-slice-sockets", "4096"),
    *("--send-queue-frames", "65536"),
    *("--send-queue-bytes", "16MiB"),
)
FLAT_OUT_FRAMES = 256
FLAT_OUT_RATE = Bar(at_least=10e6)
FLAT_OUT_OF_LIMIT = Bar(at_least=0.50, of="limit")

PACED_SUBSCRIBERS = 9000
PACED_PER_SECOND = 5
PACED_SECONDS = 5
PACED_BAR = Bar(at_most=1.25, of="limit")


def _limit(limits: LimitPrograms, run: dict[str, Any], frames: float, **more: Any) -> Any:
    """Sends of the same number of bytes a frame to as many sockets."""
    return limits.fan_out(
        connections=run["subscribers"],
        frames=frames,
        size=round(run["wire_bytes_per_frame"]),
        **more,
    )


def _same_coalescing(limits: LimitPrograms, run: dict[str, Any]) -> Any:
    frames = max(1.0, round(run["frames_per_send"], 2))
    return _limit(limits, run, frames, ms=SECONDS * 1000)


def _rates(runs: list[dict[str, Any]]) -> list[float]:
    return [run["delivered_per_second"] for run in runs]


def _limit_rates(runs: list[Any]) -> list[float]:
    return [at["frames"] / at["seconds"] for at in runs]


def _sender_us(runs: list[Any]) -> list[float]:
    return [at["sender"]["cpu_seconds"] * 1e6 / at["sender"]["frames"] for at in runs]


def _cost_row(runs: list[dict[str, Any]], limit_runs: list[Any]) -> Row:
    ours = [run["server_cpu_us_per_delivery"] for run in runs]
    return Row.beside("- µs of server CPU a delivery", ours, "sender", _sender_us(limit_runs))


@pytest.mark.parametrize(("subscribers", "window"), WINDOWS)
def test_fan_out(
    benchmark: Any,
    tmp_path: Path,
    limits: LimitPrograms,
    rounds: int,
    subscribers: int,
    window: int,
) -> None:
    with Server(tmp_path / "server", workers=1) as server:

        def run(*flags: str) -> dict[str, Any]:
            closed = ("--window", window, "--seconds", SECONDS, *flags)
            return server.run("fanout", "ws-proto", subscribers, *closed)

        found = in_turn(
            benchmark,
            rounds,
            lambda _: run("--ephemeral"),
            lambda before: _same_coalescing(limits, before[0]),
            lambda _: run(),
            lambda before: _same_coalescing(limits, before[2]),
        )
    ephemeral, at_most, durable, durable_at_most = (list(one) for one in zip(*found, strict=True))
    rates, durable_rates = _rates(ephemeral), _rates(durable)
    sends = Spread.of(one["frames_per_send"] for one in ephemeral)
    durable_sends = Spread.of(one["frames_per_send"] for one in durable)
    name = f"to {subscribers:,}, window {window}"
    TABLE.rows += [
        Row.beside(
            f"{name}, ephemeral: delivered/s",
            rates,
            f"{sends} frames a send",
            _limit_rates(at_most),
            OF_LIMIT,
        ),
        _cost_row(ephemeral, at_most),
        Row.beside(
            f"{name}, durable: delivered/s",
            durable_rates,
            f"{durable_sends} frames a send",
            _limit_rates(durable_at_most),
        ),
        Row.beside("- the same", durable_rates, "ephemeral", rates, OF_EPHEMERAL),
        _cost_row(durable, durable_at_most),
    ]
    for series, values in (
        ("ephemeral", rates),
        ("durable", durable_rates),
        ("limit", _limit_rates(at_most)),
    ):
        TABLE.point("rate_by_subscribers", CURVE, series, subscribers, values)


@pytest.mark.full
def test_fan_out_json(benchmark: Any, tmp_path: Path, limits: LimitPrograms, rounds: int) -> None:
    closed = ("--window", 32, "--seconds", SECONDS, "--ephemeral")
    with Server(tmp_path / "server", workers=1) as server:
        found = in_turn(
            benchmark,
            rounds,
            lambda _: server.run("fanout", "ws-json", 1000, *closed),
            lambda before: _same_coalescing(limits, before[0]),
        )
    runs, at_most = (list(one) for one in zip(*found, strict=True))
    TABLE.rows += [
        Row.beside(
            "to 1,000, window 32, ephemeral, as JSON: delivered/s",
            _rates(runs),
            f"{Spread.of(run['frames_per_send'] for run in runs)} frames a send",
            _limit_rates(at_most),
            OF_LIMIT,
        ),
        _cost_row(runs, at_most),
    ]


def test_fan_out_flat_out(
    benchmark: Any, tmp_path: Path, limits: LimitPrograms, rounds: int
) -> None:
    arguments = ("--window", FLAT_OUT_WINDOW, "--write", "batch", "--ephemeral")
    with Server(tmp_path / "server", *FLAT_OUT_FLAGS, workers=1) as server:
        found = in_turn(
            benchmark,
            rounds,
            lambda _: server.run("fanout", "ws-proto", FLAT_OUT, *arguments, "--seconds", SECONDS),
            lambda before: _limit(limits, before[0], FLAT_OUT_FRAMES, ms=SECONDS * 1000),
        )
    runs, at_most = (list(one) for one in zip(*found, strict=True))
    sends = Spread.of(run["frames_per_send"] for run in runs)
    TABLE.rows += [
        Row.beside(
            f"to {FLAT_OUT:,}, flat out, {sends} frames a send: delivered/s",
            _rates(runs),
            f"{FLAT_OUT_FRAMES} frames a send",
            _limit_rates(at_most),
            FLAT_OUT_OF_LIMIT,
        ),
        Row.alone("- the same", _rates(runs), FLAT_OUT_RATE),
        _cost_row(runs, at_most),
    ]


def test_fan_out_paced(benchmark: Any, tmp_path: Path, limits: LimitPrograms, rounds: int) -> None:
    """A message now and then: every delivery is a send of its own."""
    paced = ("--rate", PACED_PER_SECOND, "--seconds", PACED_SECONDS, "--ephemeral")
    with Server(tmp_path / "server", workers=1) as server:
        found = in_turn(
            benchmark,
            rounds,
            lambda _: server.run("fanout", "ws-proto", PACED_SUBSCRIBERS, *paced),
            lambda before: _limit(
                limits, before[0], 1, ms=PACED_SECONDS * 1000, rate=PACED_PER_SECOND
            ),
        )
    runs, at_most = (list(one) for one in zip(*found, strict=True))
    TABLE.rows.append(
        Row.beside(
            f"to {PACED_SUBSCRIBERS:,}, {PACED_PER_SECOND} messages a second:"
            " µs of server CPU a delivery",
            [run["server_cpu_us_per_delivery"] for run in runs],
            "one send()",
            _sender_us(at_most),
            PACED_BAR,
        )
    )
