"""Times as a command line has them: 500ms, 5s, 2m."""

from __future__ import annotations

import click

from imfast.config.units import parse_seconds

__all__ = ["Seconds"]


class Seconds(click.ParamType[float]):
    """Seconds, from a number with or without a unit."""

    name = "time"

    def __init__(self, *, above: float = -1.0) -> None:
        """`above`: what a time must be longer than."""
        self._above = above

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Refuses what is no time, and what is not long enough."""
        try:
            seconds = parse_seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not isinstance(seconds, int | float) or seconds <= self._above:
            self.fail(f"a time above {self._above:g} s", param, ctx)
        return float(seconds)
