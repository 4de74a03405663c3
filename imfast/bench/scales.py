"""Axes of a plot: where a value stands between 0 and 1, and which values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Categories", "Linear", "Logarithmic", "Percentiles", "Scale", "short"]

Tick = tuple[float, str]
"""A value, and how it is written."""


class Scale(Protocol):
    """An axis."""

    def place(self, value: float) -> float:
        """Where the value stands: 0 at the axis's begin, 1 at its end."""

    def ticks(self) -> list[Tick]:
        """The values to write."""


@dataclass(frozen=True)
class Linear:
    """From `low` to `high`."""

    low: float
    high: float
    step: float = 0.0
    """Between ticks; 0: a round one."""

    @classmethod
    def from_zero(cls, highest: float) -> Linear:
        """From zero to a round number that `highest` does not exceed."""
        step = _step(highest)
        return cls(0.0, max(1, math.ceil(highest / step)) * step, step)

    def place(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[Tick]:
        step = self.step or _step(self.high - self.low)
        first, last = math.ceil(self.low / step), math.floor(self.high / step + 1e-6)
        return [(number * step, short(number * step)) for number in range(first, last + 1)]


@dataclass(frozen=True)
class Logarithmic:
    """From `low` to `high`, both above zero: equal distances are equal ratios."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float]) -> Logarithmic:
        """Round numbers around the values; what is not above zero is left out."""
        above = [value for value in values if value > 0] or [1.0]
        low, high = min(above), max(above)
        return cls(_round_down(low), _round_up(max(high, low * 2)))

    def place(self, value: float) -> float:
        bounded = max(value, self.low)
        return math.log(bounded / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[Tick]:
        steps = (1, 2, 5) if self.high / self.low < 1000 else (1,)
        first = math.floor(math.log10(self.low))
        last = math.ceil(math.log10(self.high))
        found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        # A hair of tolerance: 0.1 is not quite 10 ** -1.
        within = [one for one in found if self.low * 0.999 <= one <= self.high * 1.001]
        return [(value, short(value)) for value in within]


@dataclass(frozen=True)
class Categories:
    """Names at equal distances: the value of the first is 0, that of the second 1."""

    names: Sequence[str]

    def place(self, value: float) -> float:
        return (value + 0.5) / len(self.names)

    def ticks(self) -> list[Tick]:
        return [(float(index), name) for index, name in enumerate(self.names)]


@dataclass(frozen=True)
class Percentiles:
    """Quantiles from 0 to `1 - 10 ** -nines`, each further nine as wide as the one before."""

    nines: int

    def place(self, value: float) -> float:
        rest = max(1.0 - value, 10.0**-self.nines)
        return -math.log10(rest) / self.nines

    def ticks(self) -> list[Tick]:
        marks = [(0.0, "0 %"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %")]
        marks += [(0.999, "99.9 %"), (0.9999, "99.99 %"), (0.99999, "99.999 %")]
        return [mark for mark in marks if self.place(mark[0]) <= 1.0001][: self.nines + 2]


def short(value: float) -> str:
    """Three digits, with a unit prefix where it is large."""
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= 0.9995 * factor:
            return f"{_three_digits(value / factor)}{unit}"
    return _three_digits(value)


def _three_digits(value: float) -> str:
    """No exponent: 999.7 is 1000."""
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def _step(length: float) -> float:
    """A round distance that divides a length into four to eight parts."""
    if length <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(length))
    return next(part * power for part in (0.2, 0.25, 0.5, 1, 2) if length / (part * power) <= 6)


def _round_up(value: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (1, 2, 5) if step * power >= value), 10 * power)


def _round_down(value: float) -> float:
    """The last of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (5, 2, 1) if step * power <= value), power)
