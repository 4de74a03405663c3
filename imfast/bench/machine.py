"""What a figure was measured on: processor, memory, kernel, and how busy it was before."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from imfast._engine import build_info

__all__ = ["machine", "machine_text", "revision"]


def machine() -> dict[str, Any]:
    """This machine, now."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "kernel": platform.release().split("-")[0],
        "load_before": round(os.getloadavg()[0], 2),
    }


def machine_text(facts: dict[str, Any]) -> str:
    """The machine in one line."""
    return (
        f"{facts['cores']} cores ({facts['processor']}), {facts['memory_gib']} GiB,"
        f" Linux {facts['kernel']}"
    )


def revision() -> str:
    """Version and git revision of this build, and its kind when it is no release build."""
    info = build_info()
    kind = "" if info["profile"] == "release" else f", {info['profile']} build"
    return f"{info['version']} (git {info['revision']}{kind})"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
