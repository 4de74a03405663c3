"""Names all that decides how many instructions a source becomes."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

__all__ = ["toolchain"]


def toolchain() -> dict[str, str]:
    """Tool → version; `missing` for what is not there."""
    flags = _processor_flags()
    return {
        "rustc": _first_line("rustc", "--version"),
        "rustflags": os.environ.get("RUSTFLAGS", ""),
        "c++": _first_line(*shlex.split(os.environ.get("CXX", "c++")), "--version"),
        "cython": version("cython"),
        "python": platform.python_version(),
        "libc": " ".join(platform.libc_ver()),
        "valgrind": _first_line("valgrind", "--version"),
        # The C library chooses among its copies of memcpy by these.
        "processor": " ".join([platform.machine(), *sorted({"avx2", "erms", "sse4_2"} & flags)]),
        "system": sys.platform,
    }


def _first_line(*command: str) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "missing"
    return run.stdout.partition("\n")[0]


def _processor_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("flags", "Features")):
            return set(line.partition(":")[2].split())
    return set()
