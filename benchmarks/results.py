"""The figures of several sittings in one file: a benchmark measured again replaces its rows."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from benchmarks.flow.figures import Curve, Row, Spread
from imfast.bench.machine import machine, revision

__all__ = ["FOLDER", "LATEST", "RECORDED", "Results"]

FOLDER = Path(__file__).parent / "results"
LATEST = FOLDER / "latest.json"
"""Of whoever measures here; not in the repository."""
RECORDED = FOLDER / "recorded.json"
"""What benchmarks/README.md shows."""

SECTION = "SECTION"
"""A benchmark module's own heading in the README."""


class Results:
    """The content of a file."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    @classmethod
    def read(cls, path: Path) -> Self:
        """What the file has; nothing at all where there is none."""
        empty: dict[str, Any] = {"format": 1, "benchmarks": {}, "curves": {}}
        return cls(json.loads(path.read_text()) if path.exists() else empty)

    def write(self, path: Path) -> None:
        """Replaces the file."""
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(self.content, indent=1, ensure_ascii=False) + "\n")
        temporary.replace(path)

    def add(
        self,
        item: Any,
        rows: Iterable[Row],
        cores_of_others: list[float],
        curves: Mapping[str, Curve],
    ) -> None:
        """Takes in what one benchmark measured. `item` is pytest's."""
        path, line, _ = item.location
        self.content["benchmarks"][item.nodeid] = {
            "section": getattr(item.module, SECTION, Path(path).stem.removeprefix("test_")),
            # Where it stands among the others, whatever was selected this time.
            "order": [path, line, item.name],
            "rows": [_row(row) for row in rows],
            "cores_of_others": cores_of_others,
            "revision": revision(),
            "machine": machine(),
            "date": datetime.date.today().isoformat(),
        }
        for name, curve in curves.items():
            self._add_curve(name, curve)

    @property
    def benchmarks(self) -> list[dict[str, Any]]:
        """In the order in which they stand in the sources."""
        found = self.content["benchmarks"].values()
        return sorted(found, key=lambda one: one["order"][:2])

    def rows_of(self, benchmark: dict[str, Any]) -> list[Row]:
        """A benchmark's lines of the table."""
        return [_read_row(row) for row in benchmark["rows"]]

    @property
    def curves(self) -> dict[str, Curve]:
        """The plots, by the name of their files."""
        return {name: _read_curve(one) for name, one in self.content["curves"].items()}

    def _add_curve(self, name: str, curve: Curve) -> None:
        known = self.content["curves"].setdefault(name, {"points": {}})
        known.update(title=curve.title, x_label=curve.x_label, y_label=curve.y_label)
        for series, points in curve.points.items():
            kept = known["points"].setdefault(series, {})
            kept.update({f"{x:g}": spread.values for x, spread in points.items()})


def _row(row: Row) -> dict[str, Any]:
    fields = asdict(row)
    for name in ("measured", "limit", "ratio"):
        if fields[name]:
            fields[name] = fields[name]["values"]
    return fields


def _read_row(fields: dict[str, Any]) -> Row:
    spreads = {
        name: Spread.of(fields[name]) if fields[name] else None
        for name in ("measured", "limit", "ratio")
    }
    return Row(**{**fields, **spreads})


def _read_curve(fields: dict[str, Any]) -> Curve:
    points = {
        series: {float(x): Spread.of(values) for x, values in one.items()}
        for series, one in fields["points"].items()
    }
    return Curve(fields["title"], fields["x_label"], fields["y_label"], points)
