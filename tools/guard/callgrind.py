"""Runs a program under callgrind and reads what it counted (callgrind's profile data format)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["CountError", "count_labelled", "count_within"]

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
"""The same for every run: what stands in the environment moves the stack."""

TIMEOUT_S = 120.0

NOTHING = "nothing"
"""The case that does nothing: what counting itself costs."""


class CountError(Exception):
    """Nothing could be counted; the text says why."""


def count_labelled(command: Sequence[str], room: Path) -> dict[str, float]:
    """Counts a program that dumps by itself, each dump labelled ``name operations``.

    Returns name → instructions per operation. `room` is emptied and used for the dumps.
    """
    _run(command, [], room)
    totals: dict[str, tuple[int, int]] = {}
    for dump in room.glob("out.*"):
        label, total = _read(dump)
        if label:
            name, _, operations = label.rpartition(" ")
            totals[name] = int(operations), total
    if not totals:
        raise CountError(f"{command[0]} counted nothing: does it run on this processor?")
    _, overhead = totals.pop(NOTHING, (1, 0))
    return {name: (total - overhead) / count for name, (count, total) in totals.items()}


def count_within(command: Sequence[str], functions: Sequence[str], room: Path) -> float:
    """Counts what runs within functions, by patterns of their names.

    The program prints how many operations it did. Returns instructions per operation.
    """
    printed = _run(command, [f"--toggle-collect={name}" for name in functions], room)
    _, total = _read(room / "out")
    if total == 0:
        raise CountError(f"no function is named {' or '.join(functions)}")
    return total / int(printed)


def _run(command: Sequence[str], options: Sequence[str], room: Path) -> str:
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    valgrind = ["valgrind", "--tool=callgrind", "--collect-atstart=no", *options]
    valgrind.append(f"--callgrind-out-file={room.absolute()}/out")
    try:
        run = subprocess.run(
            [*valgrind, *command],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except FileNotFoundError:
        raise CountError("valgrind is missing: `make check-tools` has the command") from None
    except subprocess.TimeoutExpired:
        raise CountError(f"{command[0]} took longer than {TIMEOUT_S:.0f} s") from None
    if run.returncode != 0:
        raise CountError(f"{command[0]}: exit {run.returncode}\n{run.stderr[-4000:]}")
    return run.stdout


def _read(dump: Path) -> tuple[str, int]:
    """The label that a dump was asked for with, if it was, and its instructions."""
    label, total = "", 0
    for line in dump.read_text().splitlines():
        if line.startswith("desc: Trigger: Client Request: "):
            label = line.removeprefix("desc: Trigger: Client Request: ")
        elif line.startswith("totals: "):
            total = int(line.removeprefix("totals: "))
    return label, total
