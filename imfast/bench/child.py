"""The load generator's own process: `python -m imfast.bench.child SCENARIO …`."""

from __future__ import annotations

import resource
import sys

from imfast._engine import run_load_generator

__all__ = ["main"]


def main() -> int:
    """Runs the native generator; returns its exit code."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return run_load_generator(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
