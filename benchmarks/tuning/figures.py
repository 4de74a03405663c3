"""docs/tuning/figures.json: what was measured of each knob."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

__all__ = ["FIGURES", "KnobFigures", "Measures", "read", "write"]

FIGURES = Path(__file__).parents[2] / "docs/tuning/figures.json"


class Measures(StrEnum):
    """The figures of one value."""

    RATE = "rate"
    """A second, flat out."""
    P50 = "p50_ms"
    """Of the constant rate."""
    P99 = "p99_ms"
    CPU = "cpu_us"
    """Of the server, for one of what is counted, flat out."""
    CPU_PACED = "cpu_paced_us"
    MEMORY = "memory_kib"
    """Of the server, for one of those that do not read."""


@dataclass
class KnobFigures:
    """One knob's."""

    work: str
    """The load, in words."""
    per: str
    """What is counted: a message, a delivery, a connection."""
    runs: dict[str, dict[str, list[float]]]
    """Value → measure → a figure for each round."""
    seconds: float
    """Measured time of a load."""
    revision: str
    date: str
    machine: str
    busy_cores: list[float]
    """Of each run, by anybody: as many as there are tells of a machine that others used."""

    def continues(self, fresh: KnobFigures) -> bool:
        """Whether more rounds of `fresh` belong to these."""
        same = ("work", "per", "seconds", "revision", "machine")
        return self.runs.keys() == fresh.runs.keys() and all(
            getattr(self, name) == getattr(fresh, name) for name in same
        )


def read(path: Path = FIGURES) -> dict[str, KnobFigures]:
    """Option → its figures; nothing where there is no file."""
    content = json.loads(path.read_text()) if path.exists() else {}
    return {option: KnobFigures(**fields) for option, fields in content.items()}


def write(path: Path, figures: dict[str, KnobFigures]) -> None:
    """Replaces the file."""
    content = {option: asdict(one) for option, one in figures.items()}
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    temporary.replace(path)
