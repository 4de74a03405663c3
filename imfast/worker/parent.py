"""A worker's parent is the supervisor, though another process forked it, and ends it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["become_subreaper", "die_with_parent"]

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
"""<sys/prctl.h>; the standard library has no call for them."""


def die_with_parent(parent_pid: int) -> None:
    """Has the kernel kill this process when its parent ends; exits if it already has."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the call
        sys.exit(1)


def become_subreaper() -> None:
    """Makes this process the parent of descendants whose own parent has ended."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(operation: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(operation, argument, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({operation}): {os.strerror(error)}")
