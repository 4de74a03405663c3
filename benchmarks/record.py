"""Renders the figures that were measured into benchmarks/README.md, and draws its plots.

    python -m benchmarks.record [--results FILE] [--check]

Without --results the file is what `make bench` wrote last; it is kept as results/recorded.json.
What `pytest benchmarks/peers --peers` wrote last becomes the tables of the peers, and is kept too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.flow.figures import Curve, Row, Spread
from benchmarks.peers.results import PATH as PEERS
from benchmarks.peers.table import render as peers_tables
from benchmarks.results import FOLDER, LATEST, RECORDED, Results
from imfast.bench.machine import machine_text
from imfast.bench.plots import Plot, Point, Series
from imfast.bench.scales import Categories, Linear, Logarithmic, short

__all__ = ["main", "plot", "rendered"]

README = Path(__file__).with_name("README.md")
PLOTS = Path(__file__).with_name("plots")
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
PEERS_BEGIN, PEERS_END = "<!-- peers: begin -->\n", "<!-- peers: end -->\n"
PEERS_RECORDED = FOLDER / "peers.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=LATEST)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; 1 when a bar is missed"
    )
    parser.add_argument("--peers", type=Path, default=PEERS, help="what the peers' run wrote")
    given = parser.parse_args(arguments)
    results = Results.read(given.results)
    if given.check:
        missed = [
            row for one in results.benchmarks for row in results.rows_of(one) if row.met is False
        ]
        for row in missed:
            print(" | ".join(row.cells()))
        return int(bool(missed))
    if not results.benchmarks:
        sys.exit(f"{given.results}: nothing was measured; `make bench` does")
    if given.results.resolve() != RECORDED.resolve():
        RECORDED.parent.mkdir(exist_ok=True)
        shutil.copyfile(given.results, RECORDED)
    page = rendered(README.read_text(), results)
    if given.peers.exists():
        if given.peers.resolve() != PEERS_RECORDED.resolve():
            shutil.copyfile(given.peers, PEERS_RECORDED)
        before, after = around(page, PEERS_BEGIN, PEERS_END)
        page = f"{before}\n{peers_tables(json.loads(given.peers.read_text()))}\n{after}"
    README.write_text(page)
    PLOTS.mkdir(exist_ok=True)
    for name, curve in results.curves.items():
        (PLOTS / f"{name}.svg").write_text(plot(curve, _occasion(results)).svg())
    return 0


def rendered(page: str, results: Results) -> str:
    """The page with these figures between its marks.

    Raises:
        ValueError: it has lost them.
    """
    before, after = around(page, BEGIN, END)
    return before + "\n".join(_lines(results)) + "\n" + after


def around(page: str, begin: str, end: str) -> tuple[str, str]:
    """The page up to and with the one mark, and from the other one on.

    Raises:
        ValueError: it has lost them.
    """
    before, found, rest = page.partition(begin)
    _, found_too, after = rest.partition(end)
    if not found or not found_too:
        raise ValueError(f"benchmarks/README.md has lost the marks {begin!r} and {end!r}")
    return before + begin, end + after


def _lines(results: Results) -> list[str]:
    lines = ["", _occasion(results) + ".", ""]
    # The peers have tables of their own.
    ours = [one for one in results.benchmarks if not one["order"][0].startswith("benchmarks/peers")]
    for section, benchmarks in itertools.groupby(ours, lambda one: one["section"]):
        lines += [f"### {section}", ""]
        rule = tuple("---" for _ in Row.HEADINGS)
        cells = [Row.HEADINGS, rule]
        cells += [row.cells() for one in benchmarks for row in results.rows_of(one)]
        lines += ["| " + " | ".join(one) + " |" for one in cells]
        lines.append("")
    if results.curves:
        lines += ["### Plots", ""]
    for name, curve in results.curves.items():
        lines += [f"![{curve.title}](plots/{name}.svg)", ""]
    return lines


def _occasion(results: Results) -> str:
    """Machine, revision, day, and how much of the machine others had, in one line."""
    found = results.benchmarks
    machines = dict.fromkeys(machine_text(one["machine"]) for one in found)
    revisions = dict.fromkeys(one["revision"] for one in found)
    days = sorted({one["date"] for one in found})
    others = [cores for one in found for cores in one["cores_of_others"]]
    parts = [
        f"imfast {', '.join(revisions)}",
        days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
        "; ".join(machines),
        "loopback, client on the same cores",
    ]
    if others:
        parts.append(f"cores that others used meanwhile: {Spread.of(others)}")
    return "; ".join(parts)


def plot(curve: Curve, note: str) -> Plot:
    """The curve with the values of x at equal distances, medians joined, least and greatest."""
    every = sorted({x for points in curve.points.values() for x in points})
    place = {x: float(index) for index, x in enumerate(every)}
    series = [
        Series(name, [_point(place[x], points[x]) for x in sorted(points)], name in LIMITS)
        for name, points in curve.points.items()
    ]
    values = [
        value for points in curve.points.values() for one in points.values() for value in one.values
    ]
    wide = max(values) / max(min(values), 1e-9) > 20
    return Plot(
        title=curve.title,
        x_label=curve.x_label,
        y_label=curve.y_label,
        x=Categories([short(x) for x in every]),
        y=Logarithmic.around(values) if wide else Linear.from_zero(max(values)),
        series=series,
        note=note,
        width=PLOT_WIDTH,
    )


PLOT_WIDTH = 820
LIMITS = ("limit", "relay p50", "relay p99")
"""Series that are dashed."""


def _point(x: float, spread: Spread) -> Point:
    return Point(x, spread.median, min(spread.values), max(spread.values))


if __name__ == "__main__":
    sys.exit(main())
