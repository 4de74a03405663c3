"""docs/tuning.md says what the schema says, and shows only what was measured."""

from __future__ import annotations

import importlib.util
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.tuning.figures import KnobFigures, Measures
from benchmarks.tuning.knobs import KNOBS, LEFT_OUT, Knob
from benchmarks.tuning.plot import panels, picture, table
from imfast.config.load import load, options

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


def test_every_option_is_a_knob_that_is_measured_or_known_for_something_else():
    knobs = [knob.option for knob in KNOBS]
    others = [option for options in LEFT_OUT.values() for option in options]
    assert sorted(knobs + others) == sorted(options())


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.option)
def test_server_takes_every_value_that_is_tried(knob: Knob):
    assert knob.option in options()
    for value in knob.values:
        flags = zip(knob.flags[::2], knob.flags[1::2], strict=True)
        more = {flag[2:].replace("-", "_"): text for flag, text in flags}
        load({knob.option: value, "data_dir": "nowhere", **more})


def figures(measures: dict[str, list[float]]) -> KnobFigures:
    return KnobFigures(
        work="much of it",
        per="delivery",
        runs={"a<b": measures, "c": measures},
        seconds=1.5,
        revision="abc",
        date="2026-11-23",
        machine="2 cores",
        busy_cores=[1.0, 1.5],
    )


EVERYTHING = {str(measure): [1.0, 2.0, 4.0] for measure in Measures}


def test_knob_shows_rate_latency_and_processor_time_side_by_side():
    drawing = ElementTree.fromstring(picture("checkpoint_s", figures(EVERYTHING)))  # noqa: S314
    texts = [text.text or "" for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    for wanted in ("--checkpoint-s", "deliveries/s, flat out", "99 %", "paced", "a<b"):
        assert wanted in texts
    assert any("median" in text.lower() and "1.0 to 1.5 cores busy" in text for text in texts)
    assert "| `a<b` | 2 | 2 | 2 | 2 | 2 | 2 |" in table(figures(EVERYTHING))


def test_knob_of_which_little_was_measured_shows_that():
    some = figures({"cpu_us": [3.0]})
    assert [panel.y_label for panel in panels(some)] == ["server CPU, µs a delivery"]
    assert table(some)[0] == "|  | µs a delivery |"


def test_measurement_goes_on_only_with_the_same_revision_values_and_times():
    begun, fresh = figures(EVERYTHING), figures({})
    assert begun.continues(fresh)
    fresh.revision = "def"
    assert not begun.continues(fresh)
    fresh = figures({})
    fresh.runs.pop("c")
    assert not begun.continues(fresh)


def test_knob_that_was_measured_for_the_first_time_gets_a_place_on_the_page():
    module = generator()
    page = f"text\n\n{module.AFTER_KNOBS}rest"
    page = page.replace(
        module.AFTER_KNOBS, module.new_section("accepts_per_tick") + module.AFTER_KNOBS
    )
    page = module.replaced(page, "accepts_per_tick", "here\n")
    assert "### `--accepts-per-tick`" in page
    assert page.index("here") < page.index(module.AFTER_KNOBS)


def test_page_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="no marks"):
        generator().replaced("a page", "options", "text")
