"""Measures what options do to rate, latency and processor time.

    python -m benchmarks.tuning.measure [--rounds 3] [--seconds 1.5] [--again] [option …]

For every round the values of a knob take turns, so that what else the machine does hits all of
them alike. Each value gets a server of its own and the work that shows the knob, mostly two loads:
as much as goes through, and a constant rate, whose latencies run from the intended times. Results
go to docs/tuning/figures.json after each run: started again, it goes on where it was cut short, as
long as revision and times are the same. `python tools/tuning_page.py` draws them and renews
docs/tuning.md.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.flow.server import ROOT, Server
from benchmarks.tuning.figures import FIGURES, KnobFigures, read, write
from benchmarks.tuning.knobs import KNOBS, Knob
from imfast.bench.generator import GeneratorError
from imfast.bench.machine import machine, machine_text
from imfast.config.load import options


def main() -> None:
    """Measures what the command line names, all knobs by default."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("options", nargs="*", metavar="option", help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--again", action="store_true", help="what was measured does not count")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    given = parser.parse_args()
    if unknown := set(given.options) - {knob.option for knob in KNOBS}:
        sys.exit(f"no knob of that name: {', '.join(sorted(unknown))}")
    known = read(given.figures)
    for knob in KNOBS:
        if given.options and knob.option not in given.options:
            continue
        if knob.option not in options():
            print(f"{knob.option}: this revision has no such option", flush=True)
            continue
        fresh = _begun(knob, given.seconds)
        before = known.get(knob.option)
        if given.again or before is None or not before.continues(fresh):
            known[knob.option] = fresh
        for number in range(given.rounds):
            _round(knob, known[knob.option], number, given.seconds)
            write(given.figures, known)


def _begun(knob: Knob, seconds: float) -> KnobFigures:
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return KnobFigures(
        work=knob.work.text,
        per=knob.work.per,
        runs={value: {} for value in knob.values},
        seconds=seconds,
        revision=revision,
        date=datetime.date.today().isoformat(),
        machine=machine_text(machine()),
        busy_cores=[],
    )


def _round(knob: Knob, figures: KnobFigures, number: int, seconds: float) -> None:
    """Measures those values that have no such round yet."""
    for value, runs in figures.runs.items():
        if min((len(one) for one in runs.values()), default=0) > number:
            continue
        try:
            measures = _once(knob, value, seconds, figures.busy_cores)
        except (AssertionError, GeneratorError) as error:
            # A value under which messages are lost is worth a line, not the end of everything.
            print(f"{knob.option}={value} round {number}: {error}"[:400], flush=True)
            continue
        for name, figure in measures.items():
            runs.setdefault(name, []).append(figure)
        shown = ", ".join(f"{name} {figure:.4g}" for name, figure in measures.items())
        print(f"{knob.option}={value} round {number}: {shown}", flush=True)


def _once(knob: Knob, value: str, seconds: float, busy_cores: list[float]) -> dict[str, float]:
    """One value once, on a fresh server."""
    flags = [*knob.flags, f"--{knob.option.replace('_', '-')}", value]
    workers = int(value) if knob.option == "workers" else knob.workers
    flags = [*knob.flags] if knob.option == "workers" else flags
    with (
        tempfile.TemporaryDirectory() as directory,
        Server(Path(directory) / "server", *flags, workers=workers) as server,
    ):
        return knob.work.measure(server, seconds, busy_cores)


if __name__ == "__main__":
    main()
