"""Measures knobs one by one and draws docs/tuning/<knob>.svg from what came out.

    python -m benchmarks.tuning.measure [--rounds 5] [--seconds 2] [knob …]

For every round the values of a knob take turns, so that what else the machine does hits all of
them alike. What is compared is the server's own processor time for each message or delivery, from
the kernel's accounting: rates on a shared machine say more about the others. Results are merged
into docs/tuning/figures.json; `--draw` only draws again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.flow.programs import ROOT, build_generator
from benchmarks.flow.server import Server
from benchmarks.tuning.plot import Point, svg

FOLDER = ROOT / "docs/tuning"
FIGURES = FOLDER / "figures.json"


@dataclass(frozen=True)
class Knob:
    """One option, the values to try, and the work that shows it."""

    option: str
    values: tuple[str, ...]
    scenario: tuple[str, str, int, tuple[object, ...]]
    """Scenario, transport, connections, further arguments of `imfast-bench`."""
    figure: str
    """What of the generator's figures is plotted."""
    label: str
    workers: int = 1


FAN_OUT = ("fanout", "ws-proto", 1001, ("--window", 32, "--ephemeral"))
BURSTS = ("direct", "ws-proto", 500, ("--window", 16, "--write", "batch"))
SINGLE = ("direct", "ws-proto", 500, ("--window", 16))
PACED = ("direct", "ws-proto", 500, ("--rate", 2000))
DELIVERY, MESSAGE = "server_cpu_us_per_delivery", "server_cpu_us_per_message"

KNOBS = (
    Knob(
        "fan_out_slice_sockets",
        ("1", "16", "64", "256", "1024"),
        FAN_OUT,
        DELIVERY,
        "µs of server CPU a delivery, group of 1,000, ephemeral",
    ),
    Knob(
        "fan_out_slice_s",
        ("0.1ms", "0.3ms", "1ms", "3ms", "10ms"),
        FAN_OUT,
        DELIVERY,
        "µs of server CPU a delivery, group of 1,000, ephemeral",
    ),
    Knob(
        "batch_commands_max",
        ("16", "64", "256", "1024", "4096"),
        BURSTS,
        MESSAGE,
        "µs of server CPU a message, 500 senders, window 16 in one write",
    ),
    Knob(
        "events_per_tick",
        ("8", "32", "128", "512", "2048"),
        SINGLE,
        MESSAGE,
        "µs of server CPU a message, 500 senders, window 16",
    ),
    Knob(
        "segment_bytes",
        ("1MiB", "4MiB", "16MiB", "64MiB", "256MiB"),
        BURSTS,
        MESSAGE,
        "µs of server CPU a message, 500 senders, window 16 in one write",
    ),
    Knob(
        "checkpoint_s",
        ("0.25s", "1s", "5s", "30s"),
        PACED,
        MESSAGE,
        "µs of server CPU a message, 2,000 a second",
    ),
    Knob(
        "durability",
        ("os", "fsync"),
        PACED,
        MESSAGE,
        "µs of server CPU a message, 2,000 a second",
    ),
    Knob(
        "cpu_affinity",
        ("off", "auto"),
        SINGLE,
        MESSAGE,
        "µs of server CPU a message, two workers, 500 senders",
        workers=2,
    ),
)


def main() -> None:
    """Measures what the command line names, all knobs by default."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("knobs", nargs="*", metavar="knob", help="options; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    figures: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    every = [knob.option for knob in KNOBS]
    chosen = [knob for knob in KNOBS if knob.option in (arguments.knobs or every)]
    for knob in chosen:
        if not arguments.draw:
            figures[knob.option] = measured(knob, arguments.rounds, arguments.seconds)
            FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
        draw(knob, figures[knob.option])


def measured(knob: Knob, rounds: int, seconds: float) -> dict[str, Any]:
    """Value → the plotted figure of each round, with what else must be known to believe it."""
    generator = build_generator()
    runs: dict[str, list[float]] = {value: [] for value in knob.values}
    busy: list[float] = []
    for number in range(rounds):
        for value in knob.values:
            run = once(knob, value, generator, seconds)
            runs[value].append(run[knob.figure])
            busy.append(run["machine_busy_cores"])
            print(f"{knob.option}={value} round {number}: {run[knob.figure]:.3f}", flush=True)
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    return {
        "figure": knob.label,
        "runs": runs,
        "seconds": seconds,
        "revision": revision,
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, Linux {platform.release().split('-')[0]}",
        "busy_cores": [round(min(busy), 1), round(max(busy), 1)],
    }


def once(knob: Knob, value: str, generator: Path, seconds: float) -> dict[str, Any]:
    """One run on a fresh server."""
    scenario, transport, connections, arguments = knob.scenario
    variable = f"IMFAST_{knob.option.upper()}"
    os.environ[variable] = value
    try:
        with (
            tempfile.TemporaryDirectory() as directory,
            Server(Path(directory) / "server", generator, workers=knob.workers) as server,
        ):
            timed = [*arguments, "--seconds", seconds]
            return server.run(scenario, transport, connections, *timed)
    finally:
        del os.environ[variable]


def draw(knob: Knob, figures: dict[str, Any]) -> None:
    """Draws the knob's plot."""
    points = [Point.of(value, runs) for value, runs in figures["runs"].items()]
    title = f"--{knob.option.replace('_', '-')}"
    note = (
        f"median, min and max of {len(next(iter(figures['runs'].values())))} rounds;"
        f" {figures['machine']}, revision {figures['revision']}, {figures['date']}"
    )
    (FOLDER / f"{knob.option}.svg").write_text(svg(title, figures["figure"], points, note))


if __name__ == "__main__":
    main()
