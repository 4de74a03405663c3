"""docs/tuning.md says what the schema says, and shows only what was measured."""

from __future__ import annotations

import importlib.util
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.tuning.plot import Point, svg
from imfast.config import options

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/tuning.md"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tuning_page", ROOT / "tools/tuning_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_is_the_schema_s():
    assert generator().renewed(PAGE.read_text()) == PAGE.read_text(), (
        "run `python tools/tuning_page.py`"
    )


def test_every_option_says_when_to_touch_it():
    for option in options().values():
        assert len(option.when) > 20, option.name
        assert option.unit or not re.search(r"_(s|bytes(_max)?)$", option.name), option.name


def test_every_plot_of_the_page_was_measured():
    shown = set(re.findall(r"\(tuning/(\w+)\.svg\)", PAGE.read_text()))
    figures = json.loads((ROOT / "docs/tuning/figures.json").read_text())
    drawn = {path.stem for path in (ROOT / "docs/tuning").glob("*.svg")}
    assert shown == drawn == set(figures)


@pytest.mark.parametrize("highest", [0.012, 1.0, 7.3, 950.0])
def test_plot_holds_its_points(highest: float):
    points = [Point.of("a<b", [highest / 2, highest]), Point.of("c", [highest / 4])]
    drawing = ElementTree.fromstring(svg("title", "axis", points, "note"))  # noqa: S314 - ours
    name = "{http://www.w3.org/2000/svg}"
    heights = [float(circle.attrib["cy"]) for circle in drawing.iter(f"{name}circle")]
    assert len(heights) == 2
    assert 56 <= heights[0] < heights[1] <= 244
    assert "a<b" in [text.text for text in drawing.iter(f"{name}text")]
