"""Axes and plots: values stand where they should, and a drawing is complete by itself."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imfast.bench.plots import Plot, Point, Series, side_by_side
from imfast.bench.scales import Categories, Linear, Logarithmic, Percentiles, short

SVG = "{http://www.w3.org/2000/svg}"
POSITIVE = st.floats(min_value=1e-6, max_value=1e12)


def plot(**changes: object) -> Plot:
    fields: dict[str, object] = {
        "title": "a < b",
        "x_label": "load",
        "y_label": "ms",
        "x": Categories(["one", "two"]),
        "y": Linear.from_zero(7.3),
        "series": [Series("p50", [Point(0, 2.0, 1.0, 3.0), Point(1, 7.3)])],
        **changes,
    }
    return Plot(**fields)  # type: ignore[arg-type]


@given(POSITIVE)
def test_linear_axis_ends_at_a_round_number_above_its_values(highest: float):
    axis = Linear.from_zero(highest)
    ticks = axis.ticks()
    assert highest <= axis.high * 1.000001
    assert axis.high <= highest * 2.001
    assert ticks[0][0] == 0
    assert ticks[-1][0] == pytest.approx(axis.high)
    assert 4 <= len(ticks) <= 9


@given(st.lists(POSITIVE, min_size=1))
def test_logarithmic_axis_holds_its_values_and_has_marks(values: list[float]):
    axis = Logarithmic.around(values)
    assert all(-1e-9 <= axis.place(value) <= 1 + 1e-9 for value in values)
    assert len(axis.ticks()) >= 2


def test_nothing_measured_is_no_reason_to_fail():
    assert Linear.from_zero(0.0).ticks()
    assert Logarithmic.around([0.0]).place(0.0) == 0.0


def test_each_nine_of_a_percentile_is_as_wide_as_the_one_before():
    axis = Percentiles(4)
    places = [axis.place(value) for value in (0.0, 0.9, 0.99, 0.999, 0.9999, 1.0)]
    assert places == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0, 1.0])
    assert [name for _, name in axis.ticks()][-1] == "99.99 %"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.4567, "0.457"), (12.34, "12.3"), (999.9, "1 k"), (15_000, "15 k"),
     (2_345_678, "2.35 M"), (-1500, "-1.5 k")],
)  # fmt: skip
def test_numbers_have_three_digits_and_a_prefix(value: float, text: str):
    assert short(value) == text


def test_plot_shows_points_spread_legend_and_escaped_words():
    drawing = ElementTree.fromstring(plot(note="here & now").svg())  # noqa: S314 - ours
    texts = [text.text for text in drawing.iter(f"{SVG}text")]
    assert {"a < b", "load", "ms", "one", "two", "p50", "here & now"} <= set(texts)
    heights = [float(circle.attrib["cy"]) for circle in drawing.iter(f"{SVG}circle")]
    assert len(heights) == 2
    assert heights[0] > heights[1], "more is higher"
    spreads = [line for line in drawing.iter(f"{SVG}line") if line.get("class") == "spread"]
    assert len(spreads) == 1


def test_plot_needs_nothing_from_elsewhere_and_knows_dark_grounds():
    drawing = plot().svg()
    assert "prefers-color-scheme: dark" in drawing
    assert not re.findall(r"(?:href|src|url\()", drawing)


def test_plots_side_by_side_keep_their_places():
    drawing = ElementTree.fromstring(side_by_side("knob", [plot(), plot()], "note"))  # noqa: S314
    moved = [group.attrib["transform"] for group in drawing.iter(f"{SVG}g")]
    assert moved == ["translate(0 30)", "translate(640 30)"]
