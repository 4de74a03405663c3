"""`python -P -m imfast.worker FD PID`: the zygote, and each worker that it forks."""

from __future__ import annotations

import os
import signal
import sys

import imfast.observe.lean_structlog  # noqa: F401 - before whatever loads all of it
from imfast.config.worker_document import STOP_SIGNALS, WorkerDocument
from imfast.errors import ExitCode
from imfast.gateway.authenticate import load_all
from imfast.worker import crash
from imfast.worker.lifecycle import run_worker
from imfast.worker.parent import die_with_parent
from imfast.worker.zygote import fork_workers


def main() -> int:
    """Forks workers until the supervisor, PID, closes FD; in a worker, serves until told to stop.

    Returns the exit status.
    """
    requests, supervisor = map(int, sys.argv[1:3])
    die_with_parent(supervisor)
    descriptor = fork_workers(requests, idle=load_all)
    if descriptor is None:
        return ExitCode.OK
    # Until it serves there is nothing to finish. From then on the loop has handlers of its own.
    for number in STOP_SIGNALS:
        signal.signal(number, lambda _number, _frame: os._exit(ExitCode.OK))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    document = WorkerDocument.read(descriptor)
    if document is None:
        return ExitCode.OK
    die_with_parent(document.supervisor_pid)
    crash.install(document)
    status = run_worker(document)
    crash.uninstall(document)
    return status


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's tear-down: everything that matters is on disk or closed, and a
    # thread that is still in a system call must not delay a restart.
    os._exit(status)
