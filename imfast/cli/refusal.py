"""How a command says that it cannot start."""

from __future__ import annotations

import sys

from imfast.errors import StartError

__all__ = ["said"]


def said(error: StartError) -> int:
    """Prints why, and returns what to exit with."""
    for line in str(error).splitlines():
        print(f"imfast: {line}", file=sys.stderr)
    return error.exit_code
