"""Figures beside their limits: interleaved pairs, medians with the spread, one table at the end."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["TABLE", "Row", "Spread", "pairs"]


@dataclass(frozen=True)
class Spread:
    """What repeated measurements gave."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        return cls(tuple(values))

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(min(self.values))}-{number(max(self.values))})"


def number(value: float) -> str:
    """Three digits, with a unit prefix where it is large."""
    for factor, unit in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:.3g}"


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    figure: str
    measured: Spread
    limit_name: str
    limit: Spread | None
    ratio: Spread | None
    bar: str
    """What was wanted; empty where the row only tells more."""
    met: bool | None

    def cells(self) -> tuple[str, ...]:
        verdict = {True: "met", False: "missed", None: ""}[self.met]
        return (
            self.figure,
            str(self.measured),
            f"{self.limit_name}: {self.limit}" if self.limit else self.limit_name,
            str(self.ratio) if self.ratio else "",
            self.bar,
            verdict,
        )


@dataclass
class Table:
    """Every row of this session, printed when it ends."""

    rows: list[Row] = field(default_factory=list)
    cores_of_others: list[float] = field(default_factory=list)
    """Cores that neither server nor generator used in a run: builds of others, the kernel's own."""

    HEADINGS = ("figure", "imfast", "limit", "ratio", "bar", "")

    def lines(self) -> list[str]:
        """The table in Markdown."""
        rule = tuple("---" for _ in self.HEADINGS)
        cells = [self.HEADINGS, rule, *(row.cells() for row in self.rows)]
        return ["| " + " | ".join(one) + " |" for one in cells]

    def note_others(self, run: dict[str, Any]) -> None:
        """Notes how much of the machine others used during a run of the generator."""
        own: float = run["server_cpu_seconds"] / run["seconds"] + run["client_cpu_share"]
        self.cores_of_others.append(max(0.0, float(run["machine_busy_cores"]) - own))


TABLE = Table()


def pairs(
    benchmark: Any, count: int, measured: Callable[[], Any], limit: Callable[[Any], Any]
) -> list[tuple[Any, Any]]:
    """Runs `measured` and then `limit`, which is given its result, `count` times in turn.

    Each run measures its own time; the benchmark's is that of a pair with everything around it.
    """
    results: list[tuple[Any, Any]] = []

    def pair() -> None:
        result = measured()
        TABLE.note_others(result)
        results.append((result, limit(result)))

    benchmark.pedantic(pair, rounds=count, iterations=1)
    return results
