"""`python -P -m imfast.worker FD`: see `imfast.config.worker_document`."""

from __future__ import annotations

import os
import sys

from imfast.config import WorkerDocument
from imfast.worker.lifecycle import run_worker
from imfast.worker.parent import die_with_parent


def main() -> int:
    """Serves until told to stop; returns the exit status."""
    document = WorkerDocument.read(int(sys.argv[1]))
    if document is None:
        return 0
    die_with_parent(document.supervisor_pid)
    return run_worker(document)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's tear-down: everything that matters is on disk or closed, and a
    # thread that is still in a system call must not delay a restart.
    os._exit(status)
