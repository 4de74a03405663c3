"""Loads the engine that was built for the simulation; `make simulation` builds it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

__all__ = ["engine_module", "faulty_sequencer_module"]

BUILT = Path(sys.prefix) / "simulation"


def load(name: str, pattern: str) -> ModuleType:
    """Load the extension module `name` from the file that `pattern` finds."""
    found = sorted(BUILT.glob(pattern))
    if not found:
        raise RuntimeError(f"{BUILT / pattern} is missing: run `make simulation`")
    loader = importlib.machinery.ExtensionFileLoader(name, str(found[0]))
    spec = importlib.util.spec_from_file_location(name, found[0], loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@cache
def engine_module() -> ModuleType:
    """`imfast._engine` in a simulated world."""
    return load("simulated._engine", "_engine*.so")


@cache
def faulty_sequencer_module() -> ModuleType:
    """`imfast._core.sequencer` with the deliberate faults compiled in."""
    return load("simulated.sequencer", "sequencer*.so")
