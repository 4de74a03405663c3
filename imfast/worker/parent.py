"""A worker does not outlive its supervisor."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["die_with_parent"]

PR_SET_PDEATHSIG = 1
"""<sys/prctl.h>; the standard library has no call for it."""


def die_with_parent(parent_pid: int) -> None:
    """Has the kernel kill this process when its parent ends; exits if it already has."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl(PR_SET_PDEATHSIG): {os.strerror(error)}")
    if os.getppid() != parent_pid:  # it died before the call
        sys.exit(1)
