"""Line plots as SVG, legible on light and dark ground, alone or within a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from imfast.bench.scales import Scale

__all__ = ["Plot", "Point", "Series", "side_by_side"]

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 62, 30, 58, 62
LETTER, SMALL_LETTER = 6.2, 5.8
"""About how wide letters are: of the legend, of the note."""

STYLE = """
.plot { font: 12px system-ui, sans-serif; --ink: #1d2329; --soft: #626c76; --rule: #e3e6ea;
  --s0: #1f66b0; --s1: #c2571a; --s2: #2f855a; --s3: #8047a8; --ground: #ffffff; }
@media (prefers-color-scheme: dark) { .plot { --ink: #e4e8ec; --soft: #9aa5b1; --rule: #343b43;
  --s0: #6cb0f5; --s1: #f0935a; --s2: #6cc494; --s3: #c499e8; --ground: #15191e; } }
.plot text { fill: var(--ink); } .plot .soft { fill: var(--soft); }
.plot .title { font-size: 15px; font-weight: 600; } .plot .ground { fill: var(--ground); }
.plot .rule { stroke: var(--rule); } .plot .axis { stroke: var(--soft); }
.plot .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.plot .spread { stroke-width: 1.5; stroke-opacity: 0.55; }
"""


@dataclass(frozen=True)
class Point:
    """A value, and the least and greatest of what it is the median of."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points that a line joins."""

    name: str
    """For the legend; empty where there is but one series."""
    points: Sequence[Point]
    dashed: bool = False
    """For limits, and what else is no figure of ours."""


@dataclass(frozen=True)
class Plot:
    """One plot."""

    title: str
    x_label: str
    y_label: str
    x: Scale
    y: Scale
    series: Sequence[Series]
    note: str = ""
    """A line below: where and when that was measured."""
    width: int = WIDTH

    def svg(self) -> str:
        """A document, or an element of a page."""
        return _document(self.width, HEIGHT, self.title, self._body())

    def _body(self) -> str:
        parts = [
            *_text(LEFT, 20, self.title, kind="title"),
            *self._legend(),
            *self._grid(),
        ]
        for number, series in enumerate(self.series):
            parts += self._line(series, f"var(--s{number % 4})")
        return "\n".join(parts)

    def _x(self, value: float) -> float:
        return LEFT + (self.width - LEFT - RIGHT) * self.x.place(value)

    def _y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(1.0, self.y.place(value)))

    def _legend(self) -> list[str]:
        named = [(number, one) for number, one in enumerate(self.series) if one.name]
        at = float(LEFT)
        parts = _text(at, 42, self.y_label, kind="soft")
        at += len(self.y_label) * LETTER + 22
        for number, series in named:
            dash = ' stroke-dasharray="5 4"' if series.dashed else ""
            parts.append(
                f'<line x1="{at:.1f}" x2="{at + 18:.1f}" y1="38" y2="38"'
                f' stroke="var(--s{number % 4})" stroke-width="2"{dash}/>'
            )
            parts += _text(at + 23, 42, series.name)
            at += 23 + len(series.name) * LETTER + 16
        return parts

    def _grid(self) -> list[str]:
        right, floor = self.width - RIGHT, HEIGHT - BOTTOM
        parts = []
        for value, name in self.y.ticks():
            y = self._y(value)
            parts.append(f'<line class="rule" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts += _text(LEFT - 7, y + 4, name, anchor="end", kind="soft")
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{floor}" y2="{floor}"/>')
        for value, name in self.x.ticks():
            parts += _text(self._x(value), floor + 17, name, anchor="middle", kind="soft")
        middle = (LEFT + right) / 2
        parts += _text(middle, floor + 35, self.x_label, anchor="middle", kind="soft")
        return parts + _text(LEFT, HEIGHT - 8, self.note, kind="soft", size=10)

    def _line(self, series: Series, colour: str) -> list[str]:
        places = [(self._x(point.x), self._y(point.y)) for point in series.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dash = ' stroke-dasharray="5 4"' if series.dashed else ""
        parts = [f'<polyline class="line" points="{path}" stroke="{colour}"{dash}/>']
        # Points that stand close together are a curve; marks would hide it.
        if len(places) <= 16:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>' for x, y in places
            ]
        for point in series.points:
            if point.low is not None and point.high is not None:
                x, low, high = self._x(point.x), self._y(point.low), self._y(point.high)
                parts.append(
                    f'<line class="spread" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}"'
                    f' y2="{high:.1f}" stroke="{colour}"/>'
                )
        return parts


def side_by_side(title: str, plots: Sequence[Plot], note: str) -> str:
    """Several plots of one thing in one document."""
    head, foot = 30, 22
    needed = 2 * 14 + int(len(note) * SMALL_LETTER)
    width = max(needed, sum(plot.width for plot in plots))
    parts = _text(14, 22, title, kind="title", size=16)
    left = 0
    for plot in plots:
        parts.append(f'<g transform="translate({left} {head})">\n{plot._body()}\n</g>')
        left += plot.width
    height = head + HEIGHT + foot
    parts += _text(14, height - 10, note, kind="soft", size=11)
    return _document(width, height, title, "\n".join(parts))


def _document(width: int, height: int, title: str, body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {width} {height}"'
        f' role="img" aria-label="{escape(title)}">\n<style>{STYLE}</style>\n'
        f'<rect class="ground" width="{width}" height="{height}"/>\n{body}\n</svg>\n'
    )


def _text(
    x: float, y: float, text: str, *, anchor: str = "", kind: str = "", size: int = 0
) -> list[str]:
    """The element, or none for no text."""
    if not text:
        return []
    attributes = f'x="{x:.1f}" y="{y:.1f}"'
    if anchor:
        attributes += f' text-anchor="{anchor}"'
    if kind:
        attributes += f' class="{kind}"'
    if size:
        attributes += f' style="font-size: {size}px"'
    return [f"<text {attributes}>{escape(text)}</text>"]
