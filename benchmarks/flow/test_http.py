"""`POST /v1/send` beside a Python server that answers a constant, and events beside WebSocket."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.flow.figures import TABLE, Bar, Row, Spread, in_turn
from benchmarks.flow.server import ROOT, START_SECONDS, Server, messages_lost
from imfast.bench.generator import Generator

SECTION = "HTTP: one worker, messages of 128 bytes"
SECONDS = 3

CONNECTIONS = 64
POST = ("--transport", "http", "--window", 1, "--seconds", SECONDS)
POST_BAR = Bar(at_least=3.0, of="Starlette")

SUBSCRIBERS = 1000
PUBLISHERS = 32
"""Of one message under way each: requests of one connection are answered one after the other."""
FAN_OUT = ("--publishers", PUBLISHERS, "--window", 1, "--ephemeral", "--seconds", SECONDS)
EVENTS_BAR = Bar(at_most=1.15, of="WebSocket")


@contextmanager
def _constant(directory: Path) -> Iterator[tuple[int, int]]:
    """The Python server; its port and process id."""
    port_file = directory / "port"
    program = Path(__file__).with_name("constant_server.py")
    process = subprocess.Popen([sys.executable, str(program), str(port_file)], cwd=ROOT)
    try:
        give_up = time.monotonic() + START_SECONDS
        while not port_file.exists():
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError("the Python server did not start")
            time.sleep(0.02)
        yield int(port_file.read_text()), process.pid
    finally:
        process.kill()
        process.wait()


def test_post(benchmark: Any, tmp_path: Path, rounds: int) -> None:
    with (
        Server(tmp_path / "server", workers=1) as server,
        _constant(tmp_path) as (port, pid),
    ):

        def beside() -> dict[str, Any]:
            with Generator(
                "direct",
                *("--port", port, "--connections", CONNECTIONS, "--server-pids", pid),
                *("--tokens", server.tokens(CONNECTIONS)),
                *POST,
            ) as generator:
                figures = generator.result()
            assert not messages_lost(figures), figures
            return figures

        found = in_turn(
            benchmark,
            rounds,
            lambda _: server.run("direct", "http", CONNECTIONS, *POST[2:]),
            lambda _: beside(),
        )
    ours, theirs = (list(one) for one in zip(*found, strict=True))
    for name, field, bar in (
        ("requests/s", "messages_per_second", POST_BAR),
        ("µs of server CPU a request", "server_cpu_us_per_message", None),
    ):
        first = f"POST /v1/send, durable, {CONNECTIONS} connections: {name}"
        TABLE.rows.append(
            Row.beside(
                first if bar else f"- {name}",
                [one[field] for one in ours],
                "Starlette + uvicorn, a constant",
                [one[field] for one in theirs],
                bar,
            )
        )
    TABLE.rows += [
        Row.beside(
            f"- {quantile}, ms",
            [one["latency"][f"{quantile}_us"] / 1e3 for one in ours],
            "Starlette + uvicorn, a constant",
            [one["latency"][f"{quantile}_us"] / 1e3 for one in theirs],
        )
        for quantile in ("p50", "p99")
    ]


def test_events(benchmark: Any, tmp_path: Path, rounds: int) -> None:
    with Server(tmp_path / "server", workers=1) as server:
        found = in_turn(
            benchmark,
            rounds,
            lambda _: server.run("fanout", "sse", SUBSCRIBERS, *FAN_OUT),
            lambda _: server.run("fanout", "ws-json", SUBSCRIBERS, *FAN_OUT),
        )
    events, frames = (list(one) for one in zip(*found, strict=True))
    sends = [Spread.of(one["frames_per_send"] for one in runs) for runs in (events, frames)]
    TABLE.rows += [
        Row.beside(
            f"events to {SUBSCRIBERS:,}, {sends[0]} a send: µs of server CPU a delivery",
            [one["server_cpu_us_per_delivery"] for one in events],
            f"WebSocket, JSON, {sends[1]} a send",
            [one["server_cpu_us_per_delivery"] for one in frames],
            EVENTS_BAR,
        ),
        Row.beside(
            "- delivered/s",
            [one["delivered_per_second"] for one in events],
            "WebSocket, JSON",
            [one["delivered_per_second"] for one in frames],
        ),
        Row.beside(
            "- bytes a delivery",
            [one["wire_bytes_per_frame"] for one in events],
            "WebSocket, JSON",
            [one["wire_bytes_per_frame"] for one in frames],
        ),
    ]
