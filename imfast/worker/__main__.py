"""`python -P -m imfast.worker FD PID`: the zygote, and each worker that it forks."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

import imfast.observe.lean_structlog  # noqa: F401 - before whatever loads all of it
from imfast.config.worker_document import STOP_SIGNALS, WorkerDocument
from imfast.errors import ExitCode
from imfast.gateway.authenticate import load_all
from imfast.worker import crash
from imfast.worker.lifecycle import run_worker
from imfast.worker.parent import die_with_parent
from imfast.worker.zygote import fork_workers


def be_zygote(requests: int, supervisor: int) -> NoReturn:
    """Forks workers until the process `supervisor` closes the socket `requests`, and exits.

    So does each worker, when it has served.
    """
    status = 1
    try:
        status = _fork_or_serve(requests, supervisor)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Without the interpreter's tear-down: everything that matters is on disk or closed, and a
        # thread that is still in a system call must not delay a restart.
        os._exit(status)


def _fork_or_serve(requests: int, supervisor: int) -> int:
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
    be_zygote(int(sys.argv[1]), int(sys.argv[2]))
