"""What `imfast bench` hands over: one document, as JSON, as a table and as a page."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from imfast.bench.figures import Figure, figures_of, void_reasons
from imfast.bench.limits import Limit
from imfast.bench.machine import machine, revision

__all__ = ["FORMAT", "Report", "Sample"]

FORMAT = 1
"""Of the JSON document; higher when a field changes its meaning."""


@dataclass(frozen=True)
class Sample:
    """What arrived in one interval."""

    seconds: float
    """Its end, since the run began."""
    per_second: float


@dataclass(frozen=True)
class Report:
    """A run."""

    scenario: str
    command: str
    options: dict[str, Any]
    result: dict[str, Any]
    """As the generator printed it."""
    samples: Sequence[Sample]
    limit: Limit | None
    no_limit: str
    """Why there is none; empty when there is one."""
    date: str
    machine: dict[str, Any]
    revision: str

    @classmethod
    def now(
        cls,
        *,
        command: str,
        options: dict[str, Any],
        result: dict[str, Any],
        samples: Sequence[Sample],
        limit: Limit | None,
        no_limit: str,
    ) -> Report:
        """A report of what was just measured on this machine, with this build."""
        return cls(
            scenario=options["scenario"],
            command=command,
            options=options,
            result=result,
            samples=samples,
            limit=limit,
            no_limit=no_limit,
            date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            machine=machine(),
            revision=revision(),
        )

    @property
    def figures(self) -> list[Figure]:
        """The lines of the table."""
        return figures_of(self.result, self.limit)

    @property
    def void(self) -> list[str]:
        """Why nothing follows from this run; empty for one that holds."""
        return void_reasons(self.result)

    @property
    def is_open_loop(self) -> bool:
        """Whether messages were sent at their times, whatever the server did."""
        return bool(self.options.get("rate"))

    @property
    def limit_text(self) -> str:
        """What the limit is, or why there is none."""
        return self.limit.name if self.limit else self.no_limit

    def document(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "format": FORMAT,
            "scenario": self.scenario,
            "command": self.command,
            "date": self.date,
            "machine": self.machine,
            "revision": self.revision,
            "options": self.options,
            "void": self.void,
            "figures": [
                {
                    "name": figure.name,
                    "value": figure.value,
                    "unit": figure.unit,
                    "limit": figure.limit,
                    "limit_name": figure.limit_name,
                    "ratio": figure.ratio,
                }
                for figure in self.figures
            ],
            "limit": asdict(self.limit) if self.limit else None,
            "no_limit": self.no_limit,
            "samples": [asdict(sample) for sample in self.samples],
            "result": self.result,
        }
