"""Peers that are Go programs: `go install` into a directory of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from benchmarks.peers.peer import HOME

__all__ = ["install", "program", "version"]

PROGRAMS = HOME / "bin"


def install(module: str, version: str = "latest") -> None:
    """Builds the program of `module`; takes minutes the first time."""
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"GOBIN": str(PROGRAMS)}
    subprocess.run(["go", "install", f"{module}@{version}"], check=True, env=environment)


def program(name: str) -> Path:
    """Where `install` puts it."""
    return PROGRAMS / name


def version(module: str, name: str) -> str | None:
    """The module's version that was built into the program; none while it is not installed."""
    if not program(name).exists():
        return None
    told = subprocess.run(
        ["go", "version", "-m", program(name)], check=True, capture_output=True, text=True
    )
    for line in told.stdout.splitlines():
        match line.split():
            case ["mod", found, number, *_] if found == module:
                return number
    return "?"
