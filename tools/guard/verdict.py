"""What got slower, and whether somebody said why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tools.guard.counts import Counts

__all__ = ["LIMIT", "Verdict", "judge"]

LIMIT = 0.05
"""A function may take this much more than in the parent revision, as a share of it."""

State = Literal["same", "faster", "slower", "waived", "new", "gone"]


@dataclass(frozen=True)
class Row:
    """One function."""

    name: str
    before: float | None
    after: float | None
    state: State
    reason: str = ""

    def __str__(self) -> str:
        before = "" if self.before is None else f"{self.before:,.1f}"
        after = "" if self.after is None else f"{self.after:,.1f}"
        change = ""
        if self.before and self.after is not None:
            change = f"{self.after / self.before - 1:+.1%}"
        text = f"  {self.name:<32}{before:>12}{after:>12}{change:>9}  {self.state}"
        return f"{text}: {self.reason}" if self.reason else text


@dataclass(frozen=True)
class Verdict:
    """All functions."""

    rows: tuple[Row, ...]

    @property
    def refused(self) -> list[Row]:
        """What is slower, or not counted any more, without a waiver."""
        return [row for row in self.rows if row.state in {"slower", "gone"}]

    @property
    def passed(self) -> bool:
        return not self.refused

    def lines(self, base: str) -> list[str]:
        """The report for people."""
        lines = [f"guard: instructions per operation, {base} and here"]
        lines += [str(row) for row in self.rows]
        if self.passed:
            return [*lines, f"guard: nothing takes over {LIMIT:.0%} more"]
        lines.append(f"guard: REFUSED: over {LIMIT:.0%} more, or gone, without a reason given.")
        lines.append("Make it faster, or end the commit's message with a line for each:")
        lines += [
            f"Instructions-Waived: {row.name}: <why this is worth it>" for row in self.refused
        ]
        return lines


def judge(before: Counts, after: Counts, waivers: Mapping[str, str]) -> Verdict:
    """Compares function by function. `waivers`: function → reason.

    A function that is not counted any more needs a waiver too: it would hide what it got like.
    """
    names = sorted(before.functions.keys() | after.functions.keys())
    return Verdict(
        tuple(
            _row(name, before.functions.get(name), after.functions.get(name), waivers.get(name, ""))
            for name in names
        )
    )


def _row(name: str, before: float | None, after: float | None, reason: str) -> Row:
    if before is None:
        return Row(name, before, after, "new")
    if after is None or after > before * (1 + LIMIT):
        if reason:
            return Row(name, before, after, "waived", reason)
        return Row(name, before, after, "gone" if after is None else "slower")
    return Row(name, before, after, "faster" if after < before * (1 - LIMIT) else "same")
