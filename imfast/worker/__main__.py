"""`python -P -m imfast.worker FD`: see `imfast.config.worker_document`."""

from __future__ import annotations

import gc
import os
import select
import signal
import sys

from imfast.config import WorkerDocument
from imfast.config.worker_document import STOP_SIGNALS
from imfast.errors import ExitCode
from imfast.worker import crash
from imfast.worker.lifecycle import run_worker
from imfast.worker.parent import die_with_parent


def main() -> int:
    """Serves until told to stop; returns the exit status."""
    # Until it serves there is nothing to finish. From then on the loop has handlers of its own.
    for number in STOP_SIGNALS:
        signal.signal(number, lambda _number, _frame: os._exit(ExitCode.OK))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    descriptor = int(sys.argv[1])
    settle_heap(descriptor)
    document = WorkerDocument.read(descriptor)
    if document is None:
        return ExitCode.OK
    die_with_parent(document.supervisor_pid)
    crash.install(document)
    status = run_worker(document)
    crash.uninstall(document)
    return status


def settle_heap(document: int) -> None:
    """Takes the modules, which live as long as the worker, out of the collector's sight.

    A collection over them takes tens of milliseconds: a spare has that time before its document is
    there; a worker that somebody waits for never does it.
    """
    waiting = select.poll()
    waiting.register(document, select.POLLIN)
    if not waiting.poll(0):
        gc.collect()
    gc.freeze()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's tear-down: everything that matters is on disk or closed, and a
    # thread that is still in a system call must not delay a restart.
    os._exit(status)
