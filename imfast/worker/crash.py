"""Crash reports: what a fault of ours leaves in the data directory.

A report names the place, the versions, the options and the last events, and has a trace without
values. It holds no message body and no token, so that it can be attached to an issue. The engine
writes those of its panics itself; a fatal signal leaves its traces in a file that is open from the
start, which the supervisor makes a report of once the worker is reaped.
"""

from __future__ import annotations

import faulthandler
import platform
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import orjson

from imfast._engine import build_info, install_crash_reports, write_crash_report
from imfast.config.crash_files import crash_directory, open_traces, remove_traces
from imfast.config.worker_document import WorkerDocument

__all__ = ["install", "report", "uninstall"]


def install(document: WorkerDocument) -> None:
    """From now on panics, fatal signals and exceptions that nobody catches leave a report."""
    header = _header(document)
    try:
        traces = open_traces(document.settings.data_dir, document.server, header)
    except OSError as error:
        # A full disk must not keep a worker from serving what can be read.
        print(f"imfast: no crash reports: {error}", file=sys.stderr)
        faulthandler.enable()
        return
    # First Python's handler: the engine's writes the events and hands over to it.
    faulthandler.enable(file=traces, all_threads=True)
    directory = crash_directory(document.settings.data_dir)
    install_crash_reports(directory, document.server, header, traces.fileno())
    sys.excepthook = _uncaught


def uninstall(document: WorkerDocument) -> None:
    """The worker ends in order: nothing is left behind."""
    with suppress(OSError):
        remove_traces(document.settings.data_dir, document.server)


def report(kind: str, error: BaseException) -> Path | None:
    """Writes a report about an exception, once for each place; returns its path.

    None where this place has one, or none could be written.
    """
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    place = f"{last.filename}:{last.lineno}" if last else "nowhere"
    # The type only: an exception's text may quote what it was given.
    trace = "".join(traceback.format_list(frames))
    try:
        return write_crash_report(kind, place, type(error).__qualname__, trace)
    except OSError:  # the disk may be what failed; the log has the fault
        return None


def _header(document: WorkerDocument) -> str:
    build = build_info()
    lines = {
        "version": f"{build['version']} (git {build['revision']}, {build['profile']})",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.platform()} {platform.machine()}",
        "worker": f"{document.server}, incarnation {document.incarnation}",
        "partitions": ",".join(map(str, document.partitions)),
        "options": orjson.dumps(_without_secrets(document.options)).decode(),
    }
    return "\n".join(f"{name}: {value}" for name, value in lines.items())


def _without_secrets(options: Mapping[str, object]) -> dict[str, object]:
    return {
        name: "(set)" if value is not None and ("secret" in name or "token" in name) else value
        for name, value in options.items()
    }


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    report("exception", error)
    sys.__excepthook__(kind, error, trace)
