"""A knob's picture: rate, latency and processor time over its values, side by side."""

from __future__ import annotations

import statistics

from benchmarks.tuning.figures import KnobFigures, Measures
from imfast.bench.plots import Plot, Point, Series, side_by_side
from imfast.bench.scales import Categories, Linear, Logarithmic, short

__all__ = ["panels", "picture", "table"]

PANEL_WIDTH = 400


def picture(option: str, figures: KnobFigures) -> str:
    """The picture as SVG."""
    return side_by_side(f"--{option.replace('_', '-')}", panels(figures), _note(figures))


def panels(figures: KnobFigures) -> list[Plot]:
    """One for each kind of measure that there is."""
    wanted = [
        (f"{_plural(figures.per)}/s, flat out", [("", Measures.RATE)], False),
        ("latency, paced, ms", [("50 %", Measures.P50), ("99 %", Measures.P99)], True),
        (
            f"server CPU, µs a {figures.per}",
            [("flat out", Measures.CPU), ("paced", Measures.CPU_PACED)],
            False,
        ),
        ("memory for one that does not read, KiB", [("", Measures.MEMORY)], False),
    ]
    return [
        plot for label, measures, log in wanted if (plot := _panel(figures, label, measures, log))
    ]


def table(figures: KnobFigures) -> list[str]:
    """The medians as a table in Markdown."""
    names = {
        Measures.RATE: f"{_plural(figures.per)}/s",
        Measures.P50: "p50, ms",
        Measures.P99: "p99, ms",
        Measures.CPU: f"µs a {figures.per}",
        Measures.CPU_PACED: "µs, paced",
        Measures.MEMORY: "KiB for one that does not read",
    }
    there = [one for one in names if any(runs.get(one) for runs in figures.runs.values())]
    rows = [["", *(names[one] for one in there)], ["---"] * (len(there) + 1)]
    for value, runs in figures.runs.items():
        cells = [short(statistics.median(runs[one])) if runs.get(one) else "-" for one in there]
        rows.append([f"`{value}`", *cells])
    return [f"| {' | '.join(row)} |" for row in rows]


def _panel(
    figures: KnobFigures, label: str, measures: list[tuple[str, Measures]], log: bool
) -> Plot | None:
    series = [
        Series(name if len(measures) > 1 else "", points)
        for name, measure in measures
        if (points := _points(figures, measure))
    ]
    if not series:
        return None
    highest = [point.high or point.y for one in series for point in one.points]
    lowest = [point.low or point.y for one in series for point in one.points]
    wide = log and max(highest) > 20 * min(lowest)
    return Plot(
        title="",
        x_label="",
        y_label=label,
        x=Categories(list(figures.runs)),
        y=Logarithmic.around([*lowest, *highest]) if wide else Linear.from_zero(max(highest)),
        series=series,
        width=PANEL_WIDTH,
    )


def _points(figures: KnobFigures, measure: Measures) -> list[Point]:
    return [
        Point(float(index), statistics.median(values), min(values), max(values))
        for index, runs in enumerate(figures.runs.values())
        if (values := runs.get(measure))
    ]


def _plural(per: str) -> str:
    return f"{per[:-1]}ies" if per.endswith("y") else f"{per}s"


def _note(figures: KnobFigures) -> str:
    rounds = max((len(one) for runs in figures.runs.values() for one in runs.values()), default=0)
    busy = f"; {min(figures.busy_cores)} to {max(figures.busy_cores)} cores busy"
    return (
        f"Median, least and greatest of {rounds} rounds; {figures.work}; {figures.machine};"
        f" revision {figures.revision}, {figures.date}{busy if figures.busy_cores else ''}"
    )
