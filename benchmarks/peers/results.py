"""What was measured, in one JSON file, from which `benchmarks.peers.table` makes the page."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.flow.server import ROOT

__all__ = ["PATH", "RESULTS", "SATURATED", "Measured", "Results"]

PATH = Path(os.environ.get("PEERS_JSON", ROOT / ".benchmarks/peers.json"))
"""Where the file goes."""

SATURATED = "the generator was saturated"
"""A note that makes rates and latencies void, and leaves the server's CPU time what it is."""


@dataclass(frozen=True)
class Measured:
    """One figure of one server, and of imfast beside it."""

    work: str
    figure: str
    name: str
    """A peer, `imfast, durable`, or the limit."""
    values: tuple[float, ...]
    imfast: tuple[float, ...]
    """The ephemeral imfast of the same pairs; empty where there is no pair."""
    notes: tuple[str, ...] = ()


@dataclass
class Results:
    """Everything of this session."""

    measured: list[Measured] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path, cores_of_others: float) -> None:
        """Writes the file, with the machine, the revision and the date."""
        git = subprocess.run(
            ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
            check=True,
            capture_output=True,
            text=True,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {
            "revision": git.stdout.strip(),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "machine": f"{os.cpu_count()} cores, Linux {platform.release()}",
            "cores_of_others": cores_of_others,
        }
        path.write_text(json.dumps(about | asdict(self), indent=1) + "\n")


RESULTS = Results()
