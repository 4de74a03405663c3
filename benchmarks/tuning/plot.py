"""A small plot as SVG: medians joined by a line, minimum and maximum as bars, zero included."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Point", "svg"]

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 56, 56


@dataclass(frozen=True)
class Point:
    """One value of the knob."""

    label: str
    low: float
    median: float
    high: float

    @classmethod
    def of(cls, label: str, runs: Sequence[float]) -> Point:
        return cls(label, min(runs), statistics.median(runs), max(runs))


def svg(title: str, axis: str, points: Sequence[Point], note: str) -> str:
    """Draws the plot; values of the knob stand at equal distances."""
    top = _round_up(max(point.high for point in points))
    step = (WIDTH - LEFT - RIGHT) / len(points)

    def x(index: int) -> float:
        return LEFT + step * (index + 0.5)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)

    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, title, size=15, weight="bold"),
        _text(LEFT, 42, axis),
        _text(LEFT, HEIGHT - 10, note, size=10, fill="#555"),
    ]
    for part in range(5):
        value = top * part / 4
        line = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"'
        parts.append(f'<line {line} stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y(value) + 4, f"{value:.3g}", anchor="end"))
    path = " ".join(f"{x(i):.1f},{y(point.median):.1f}" for i, point in enumerate(points))
    parts.append(f'<polyline points="{path}" fill="none" stroke="#1f5fa8" stroke-width="2"/>')
    for index, point in enumerate(points):
        at = f'x1="{x(index):.1f}" x2="{x(index):.1f}"'
        bar = f'y1="{y(point.low):.1f}" y2="{y(point.high):.1f}"'
        parts.append(f'<line {at} {bar} stroke="#1f5fa8" stroke-opacity="0.5"/>')
        parts.append(
            f'<circle cx="{x(index):.1f}" cy="{y(point.median):.1f}" r="4" fill="#1f5fa8"/>'
        )
        parts.append(_text(x(index), HEIGHT - BOTTOM + 18, point.label, anchor="middle"))
    body = "\n".join(parts)
    font = 'font-family="sans-serif" xmlns="http://www.w3.org/2000/svg"'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" {font}>\n{body}\n</svg>\n'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    anchor: str = "start",
    weight: str = "normal",
    fill: str = "black",
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text {place} font-weight="{weight}" fill="{fill}">{escape(text)}</text>'


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 6, 8 times a power of ten."""
    power = 1.0
    while power > value:
        power /= 10
    while power * 10 <= value:
        power *= 10
    return next(part * power for part in (1, 2, 4, 6, 8, 10) if part * power >= value)
