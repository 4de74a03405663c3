"""Builds the programs with the hot functions and counts their instructions.

Every revision is built in one and the same folder: the compiler derives names from paths, orders
code by names, and would count differently in another one. Only files that differ are written, so
that cargo builds again just what changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.guard.callgrind import CountError, count_labelled, count_within

__all__ = ["CountError", "counts_of"]

FOLD = (
    "*__pyx_pw_6imfast_5_core_9sequencer_9Sequencer_*fold*",
    "*__pyx_pw_6imfast_5_core_9sequencer_9Sequencer_*commit*",
)
"""The sequencer's two methods as Cython names them."""

FOLDING = Path(__file__).with_name("count_sequencer.py")


def counts_of(files: Mapping[str, bytes], target: Path) -> dict[str, float]:
    """Function → instructions per operation of these sources. `target` is cargo's directory.

    Cargo gets another one below it: to it the crates of two revisions of a workspace are the same,
    and the newer build counts, so that the next build of the tree would take the parent's.

    Raises:
        CountError: they do not build, or what they build does not run.
    """
    room = target / "guard"
    source = room / "source"
    materialise(files, source)
    functions = count_labelled([_build_micro(source, room)], room / "callgrind")
    core = room / "core"
    _run([sys.executable, "core_ext/build.py", str(core)], source)
    python = os.path.realpath(sys.executable)
    command = [python, "-I", "-S", str(FOLDING), str(core)]
    functions["sequencer_fold_256"] = count_within(command, FOLD, room / "callgrind")
    return functions


def materialise(files: Mapping[str, bytes], folder: Path) -> None:
    """Makes `folder` hold just these files; what is equal keeps its time."""
    folder.mkdir(parents=True, exist_ok=True)
    for present in folder.rglob("*"):
        if present.is_file() and str(present.relative_to(folder)) not in files:
            present.unlink()
    for path, content in files.items():
        file = folder / path
        if not file.is_file() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def _build_micro(source: Path, room: Path) -> str:
    target = room / "target"
    command = ["cargo", "build", "--quiet", "--release", "-p", "imfast-micro"]
    command += ["--manifest-path", "rust/Cargo.toml", "--target-dir", str(target.absolute())]
    _run(command, source)
    # A copy: the next revision's build writes to the same place.
    return str(shutil.copy2(target / "release/imfast-micro", room / "imfast-micro"))


def _run(command: list[str], folder: Path) -> None:
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if run.returncode != 0:
        raise CountError(f"{' '.join(command)}: exit {run.returncode}\n{run.stderr[-4000:]}")
