"""Figures beside their limits: interleaved rounds, medians with spread, one table at the end."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from imfast.bench.scales import short

__all__ = ["TABLE", "Bar", "Curve", "Row", "Spread", "Table", "in_turn", "pairs"]


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
        return f"{short(self.median)} ({short(min(self.values))}-{short(max(self.values))})"


@dataclass(frozen=True)
class Bar:
    """What a figure, or its ratio to the limit, should be; its median decides."""

    at_least: float | None = None
    at_most: float | None = None
    of: str = ""
    """Of what, where it is no absolute figure: `limit`, `ephemeral`."""

    def __str__(self) -> str:
        sign, value = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        assert value is not None
        if not self.of:
            return f"{sign} {short(value)}"
        return f"{sign} {value:.0%} of {self.of}" if value < 1 else f"{sign} {value:g} x {self.of}"

    def met(self, spread: Spread) -> bool:
        """Whether the median is on the right side."""
        if self.at_least is not None and spread.median < self.at_least:
            return False
        return self.at_most is None or spread.median <= self.at_most


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    figure: str
    measured: Spread
    limit_name: str = ""
    limit: Spread | None = None
    ratio: Spread | None = None
    bar: str = ""
    """What was wanted; empty where the row only tells more."""
    met: bool | None = None

    HEADINGS = ("figure", "imfast", "limit", "ratio", "bar", "")

    def cells(self) -> tuple[str, ...]:
        verdict = {True: "met", False: "**missed**", None: ""}[self.met]
        return (
            self.figure,
            str(self.measured),
            f"{self.limit_name}: {self.limit}" if self.limit else self.limit_name,
            str(self.ratio) if self.ratio else "",
            self.bar,
            verdict,
        )

    @classmethod
    def beside(
        cls,
        figure: str,
        ours: Sequence[float],
        limit_name: str,
        theirs: Sequence[float],
        bar: Bar | None = None,
    ) -> Row:
        """A figure and its limit, measured in turn; the ratio is the median of the pairs'."""
        ratio = Spread.of(one / other for one, other in zip(ours, theirs, strict=True))
        return cls(
            figure,
            Spread.of(ours),
            limit_name,
            Spread.of(theirs),
            ratio,
            str(bar) if bar else "",
            bar.met(ratio) if bar else None,
        )

    @classmethod
    def alone(
        cls, figure: str, ours: Sequence[float], bar: Bar | None = None, *, note: str = ""
    ) -> Row:
        """A figure that is judged by itself; `note` stands where a limit would."""
        measured = Spread.of(ours)
        met = bar.met(measured) if bar else None
        return cls(figure, measured, note, bar=str(bar) if bar else "", met=met)


@dataclass
class Curve:
    """Points of a plot that several benchmarks give together."""

    title: str
    x_label: str
    y_label: str
    points: dict[str, dict[float, Spread]] = field(default_factory=dict)
    """Series → x → what was measured there."""


@dataclass
class Table:
    """Every row of this session, printed when it ends."""

    rows: list[Row] = field(default_factory=list)
    curves: dict[str, Curve] = field(default_factory=dict)
    """By the name of the picture's file."""
    cores_of_others: list[float] = field(default_factory=list)
    """Cores that neither server nor generator used in a run: builds of others, the kernel's own."""

    def lines(self) -> list[str]:
        """The table in Markdown."""
        rule = tuple("---" for _ in Row.HEADINGS)
        cells = [Row.HEADINGS, rule, *(row.cells() for row in self.rows)]
        return ["| " + " | ".join(one) + " |" for one in cells]

    def point(self, name: str, curve: Curve, series: str, x: float, values: list[float]) -> None:
        """Adds a point to a plot; `curve` has its words."""
        known = self.curves.setdefault(name, replace(curve, points={}))
        known.points.setdefault(series, {})[x] = Spread.of(values)

    def note_others(self, run: dict[str, Any]) -> None:
        """Notes how much of the machine others used during a run of the generator."""
        if "machine_busy_cores" in run:
            own: float = run["server_cpu_seconds"] / run["seconds"] + run.get("client_cores", 1)
            self.cores_of_others.append(max(0.0, float(run["machine_busy_cores"]) - own))


TABLE = Table()


def pairs(
    benchmark: Any, count: int, measured: Callable[[], Any], limit: Callable[[Any], Any]
) -> list[tuple[Any, Any]]:
    """Runs `measured` and then `limit`, which is given its result, `count` times in turn."""
    rounds = in_turn(benchmark, count, lambda _: measured(), lambda before: limit(before[0]))
    return [(run, at) for run, at in rounds]


def in_turn(benchmark: Any, count: int, *steps: Callable[[list[Any]], Any]) -> list[list[Any]]:
    """Runs all steps one after the other, `count` times; each is given the round's results so far.

    Each run measures its own time; the benchmark's is that of a round with everything around it."""
    rounds: list[list[Any]] = []

    def one_round() -> None:
        results: list[Any] = []
        for step in steps:
            result = step(results)
            if isinstance(result, dict):
                TABLE.note_others(result)
            results.append(result)
        rounds.append(results)

    benchmark.pedantic(one_round, rounds=count, iterations=1)
    benchmark.extra_info["results"] = rounds
    return rounds
