"""benchmarks/README.md from a file of figures: bars, sections, plots; several sittings add up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.flow.figures import Bar, Curve, Row, Spread, Table
from benchmarks.record import BEGIN, END, PEERS_BEGIN, PEERS_END, around, main, plot, rendered
from benchmarks.results import Results

CURVE = Curve("rate by subscribers", "subscribers", "delivered/s")


@dataclass
class Item:
    """What pytest tells of a benchmark."""

    nodeid: str
    line: int
    section: str

    @property
    def name(self) -> str:
        return self.nodeid.partition("::")[2]

    @property
    def module(self) -> Any:
        return SimpleNamespace(SECTION=self.section)

    @property
    def location(self) -> tuple[str, int, str]:
        return self.nodeid.partition("::")[0], self.line, self.nodeid


FAN_OUT = Item("benchmarks/flow/test_fan_out.py::test_fan_out[100]", 80, "Fan-out")
PACED = Item("benchmarks/flow/test_fan_out.py::test_paced", 120, "Fan-out")
DIRECT = Item("benchmarks/flow/test_direct.py::test_rate", 10, "Direct messages")


@pytest.mark.parametrize(
    ("bar", "text", "inside", "outside"),
    [
        (Bar(at_least=0.8, of="limit"), "≥ 80% of limit", 0.8, 0.79),
        (Bar(at_most=1.25, of="limit"), "≤ 1.25 x limit", 1.25, 1.26),
        (Bar(at_least=10e6), "≥ 10 M", 10e6, 9.99e6),
        (Bar(at_most=60), "≤ 60", 60.0, 60.1),
    ],
)
def test_median_decides_at_the_bar(bar: Bar, text: str, inside: float, outside: float):
    assert str(bar) == text
    assert bar.met(Spread.of([0.0, inside, 1e9]))
    assert not bar.met(Spread.of([0.0, outside, 1e9]))


def test_ratio_is_the_median_of_the_pairs_ratios():
    row = Row.beside("rate", [10, 40, 90], "limit", [10, 80, 100], Bar(at_least=0.8, of="limit"))
    assert row.ratio is not None
    assert row.ratio.values == (1.0, 0.5, 0.9)
    assert row.met
    assert row.cells() == (
        "rate", "40 (10-90)", "limit: 80 (10-100)", "0.9 (0.5-1)", "≥ 80% of limit", "met",
    )  # fmt: skip


def recorded(*parts: tuple[Item, Row], curves: dict[str, Curve] | None = None) -> Results:
    results = Results({"format": 1, "benchmarks": {}, "curves": {}})
    for item, row in parts:
        results.add(item, [row], [0.1], curves or {})
    return results


def test_benchmark_measured_again_replaces_its_rows_and_keeps_its_place(tmp_path: Path):
    file = tmp_path / "results" / "latest.json"
    first = recorded((PACED, Row.alone("paced", [1])), (FAN_OUT, Row.alone("fan-out", [2])))
    first.write(file)
    results = Results.read(file)
    results.add(PACED, [Row.alone("paced", [3])], [], {})
    results.write(file)
    again = Results.read(file)
    rows = [row for one in again.benchmarks for row in again.rows_of(one)]
    assert [(row.figure, row.measured.values) for row in rows] == [
        ("fan-out", (2,)),
        ("paced", (3,)),
    ]


def test_page_gets_a_table_for_each_section_and_keeps_its_words():
    missed = Row.alone("fan-out", [2e6], Bar(at_least=3e6))
    results = recorded((FAN_OUT, missed), (DIRECT, Row.alone("direct", [100])))
    page = rendered(f"before\n{BEGIN}old\n{END}after\n", results)
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "old" not in page
    assert page.index("### Direct messages") < page.index("### Fan-out")
    assert "| fan-out | 2 M (2 M-2 M) |  |  | ≥ 3 M | **missed** |" in page
    assert "cores that others used meanwhile: 0.1" in page


def test_page_that_lost_its_marks_is_refused():
    with pytest.raises(ValueError, match="lost the marks"):
        rendered("no marks", recorded())


def test_points_of_several_benchmarks_make_one_plot():
    table = Table()
    for subscribers, rate in ((9000, 1e6), (100, 3e6)):
        table.point("rate", CURVE, "ephemeral", subscribers, [rate, rate * 1.1])
        table.point("rate", CURVE, "limit", subscribers, [rate * 2])
    results = recorded((FAN_OUT, Row.alone("x", [1])), curves=table.curves)
    assert "![rate by subscribers](plots/rate.svg)" in rendered(BEGIN + END, results)
    drawn = plot(results.curves["rate"], "note")
    assert [name for _, name in drawn.x.ticks()] == ["100", "9 k"]
    ephemeral, limit = drawn.series
    assert [point.y for point in ephemeral.points] == [3.15e6, 1.05e6]
    assert limit.dashed
    assert "<svg" in drawn.svg()


def test_check_names_what_missed_its_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "latest.json"
    recorded((FAN_OUT, Row.alone("slow", [1], Bar(at_least=2)))).write(file)
    assert main(["--check", "--results", str(file)]) == 1
    assert "slow" in capsys.readouterr().out
    recorded((FAN_OUT, Row.alone("fast", [3], Bar(at_least=2)))).write(file)
    assert main(["--check", "--results", str(file)]) == 0


def test_page_is_cut_at_its_marks():
    page = f"before\n{PEERS_BEGIN}old\n{PEERS_END}after\n"
    cut = around(page, PEERS_BEGIN, PEERS_END)
    assert "new".join(cut) == page.replace("old\n", "new")
    with pytest.raises(ValueError, match="peers: begin"):
        around("no marks", PEERS_BEGIN, PEERS_END)
