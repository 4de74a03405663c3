"""Where crash reports are, as workers write and the supervisor finishes them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TextIO

__all__ = ["crash_directory", "keep_traces", "open_traces", "remove_traces"]

FILES_MAX = 16
"""Reports that are kept, as the engine does with its own."""


def crash_directory(data_dir: Path) -> Path:
    """Holds the reports, and the traces file of every worker that lives."""
    return data_dir / "crash"


def open_traces(data_dir: Path, server: str, header: str) -> TextIO:
    """Makes the file that a fatal signal writes to; what was there of a predecessor goes.

    Raises:
        OSError: the disk refuses.
    """
    directory = crash_directory(data_dir)
    directory.mkdir(mode=0o700, exist_ok=True)
    path = _traces(data_dir, server)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    traces = os.fdopen(descriptor, "w")
    traces.write(f"imfast crash report\n{header}\n\n")
    traces.flush()
    return traces


def keep_traces(data_dir: Path, server: str, pid: int, signal: int | None) -> Path | None:
    """Makes a report of a dead worker's traces where `signal` left any, else removes them.

    Raises:
        OSError: the disk refuses.
    """
    path = _traces(data_dir, server)
    try:
        content = path.read_text(errors="replace")
    except FileNotFoundError:
        return None
    if signal is None or "\n-- trace\n" not in content:
        path.unlink(missing_ok=True)
        return None
    name = f"crash-{time.time_ns() // 1_000_000:013}-{server}-{pid}-signal-{signal}.txt"
    report = path.with_name(name)
    path.rename(report)
    for oldest in sorted(path.parent.glob("crash-*"))[:-FILES_MAX]:
        oldest.unlink(missing_ok=True)
    return report


def remove_traces(data_dir: Path, server: str) -> None:
    """Removes the file of a worker that ends in order."""
    _traces(data_dir, server).unlink(missing_ok=True)


def _traces(data_dir: Path, server: str) -> Path:
    return crash_directory(data_dir) / f"traces-{server}"
