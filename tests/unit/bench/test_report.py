"""A run's report: figures beside limits, what makes it void, the table and the page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from imfast.bench.figures import figures_of, void_reasons
from imfast.bench.limit_programs import LimitPrograms, LimitsUnavailableError
from imfast.bench.limits import Limit, measure_limit
from imfast.bench.page import page
from imfast.bench.report import Report, Sample
from imfast.bench.table import print_report

RESULT: dict[str, Any] = {
    "event": "result",
    "connections": 1001,
    "seconds": 5.0,
    "subscribers": 1000,
    "delivered_per_second": 3_000_000.0,
    "frames_per_send": 20.0,
    "wire_bytes_per_frame": 182.4,
    "server_cpu_seconds": 4.0,
    "server_kernel_cpu_seconds": 3.0,
    "server_user_cpu_seconds": 1.0,
    "server_cpu_us_per_delivery": 0.3,
    "client_cores": 0.9,
    "saturated": False,
    "lost": 0,
    "failed": 0,
    "latency": {
        "count": 5000,
        "p50_us": 300.0,
        "p99_us": 4000.0,
        "max_us": 9000.0,
        "percentiles": [[0.0, 100.0], [0.5, 300.0], [0.99, 4000.0], [1.0, 9000.0]],
        "hdr": "HISTFAAA",
    },
}
LIMIT = Limit("send() of 20 frames", {"delivered_per_second": 4_000_000.0})


def report(*, limit: Limit | None = LIMIT, rate: float | None = None, **changes: Any) -> Report:
    return Report.now(
        command="imfast bench fanout --json '<a>'",
        options={"scenario": "fanout", "rate": rate},
        result={**RESULT, **changes},
        samples=[Sample(0.5, 2e6), Sample(1.5, 3e6)],
        limit=limit,
        no_limit="" if limit else "not measured (needs a source checkout and cc)",
    )


class Document(HTMLParser):
    """The elements of a page: which are open, and what they name."""

    VOID = frozenset({"meta", "br", "rect", "line", "circle", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_figures_stand_beside_their_limits():
    found = {figure.name: figure for figure in figures_of(RESULT, LIMIT)}
    delivered = found["delivered"]
    assert (delivered.text, delivered.limit_text, delivered.ratio) == ("3 M/s", "4 M/s", 0.75)
    assert found["latency, 99 %"].text == "4 ms"
    assert found["server CPU in the kernel"].text == "0.6 cores"
    assert found["server CPU for a delivery"].limit is None


def test_every_verb_of_a_mix_has_its_own_lines():
    mixed = {**RESULT, "kinds": {"history": {"answered_per_second": 50.0, "latency": {}}}}
    found = {figure.name: figure.text for figure in figures_of(mixed, None)}
    assert found["- history: answered"] == "50/s"


def test_scenario_that_checks_shows_what_it_checked_and_how_long_things_were_away():
    outages = {"count": 2, "p99_us": 400_000.0, "max_us": 1_450_000.0}
    checked = {"wrong": False, "delivered": 1200, "breaks": 4, "outages": outages}
    found = {figure.name: figure.text for figure in figures_of(checked, None)}
    assert found["delivered"] == "1.2 k"
    assert found["outage, longest"] == "1.45 s"


def test_processor_time_that_was_not_measured_is_no_figure():
    unknown = {**RESULT, "server_cpu_seconds": 0.0, "server_cpu_us_per_delivery": 0.0}
    assert not [one for one in figures_of(unknown, None) if one.name.startswith("server CPU")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"saturated": True}, "saturated"),
        ({"lost": 3}, "lost: 3"),
        ({"failed": 2, "first_error": "rate_limited: slow down"}, "rate_limited"),
        ({"reordered": 1}, "reordered: 1"),
    ],
)
def test_run_that_proves_nothing_is_void(changes: dict[str, Any], reason: str):
    assert not void_reasons(RESULT)
    [said] = void_reasons({**RESULT, **changes})
    assert reason in said
    assert "VOID" in page(report(**changes))
    assert "VOID" not in page(report())


def test_page_is_one_file_that_parses_and_asks_for_nothing_else():
    text = page(report(rate=100.0))
    document = Document(text)
    assert document.open == []
    assert document.seen.count("svg") == 2, "rate over time and latency"
    assert not {"script", "link", "img", "iframe", "image", "use"} & set(document.seen)
    assert not [name for name, _ in document.attributes if name in {"src", "href", "xlink:href"}]
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}, "a name, and never fetched"
    assert "@import" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text


def test_page_says_what_was_run_where_and_how_to_read_it():
    text = page(report())
    for wanted in ("imfast bench fanout --json &#x27;&lt;a&gt;&#x27;", "cores (", "Linux", "git "):
        assert wanted in text
    assert "Closed loop" in text
    assert "HISTFAAA" not in text, "histograms are for programs"
    assert "Open loop" in page(report(rate=5.0))


def test_report_without_a_limit_says_why(capsys: pytest.CaptureFixture[str]):
    print_report(report(limit=None))
    printed = capsys.readouterr().out
    assert "limit: not measured (needs a source checkout and cc)" in printed
    assert "needs a source checkout and cc" in page(report(limit=None))


def test_table_shouts_when_the_run_is_void(capsys: pytest.CaptureFixture[str]):
    print_report(report(saturated=True))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["delivered", "3", "M/s", "4", "M/s", "0.75", *LIMIT.name.split()]
    assert any(line.startswith("VOID: nothing follows") for line in lines)


def test_document_has_all_of_it():
    document = json.loads(json.dumps(report().document()))
    assert document["format"] == 1
    assert document["figures"][0]["ratio"] == 0.75
    assert document["result"]["latency"]["hdr"] == "HISTFAAA"
    assert document["samples"] == [
        {"seconds": 0.5, "per_second": 2e6},
        {"seconds": 1.5, "per_second": 3e6},
    ]


def test_limits_without_a_compiler_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(LimitsUnavailableError, match="needs no-such-compiler"):
        LimitPrograms(tmp_path)


class FakePrograms:
    """What the limits were asked for."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def fan_out(self, **asked: Any) -> dict[str, Any]:
        self.asked = asked
        return {"frames": 6e6, "seconds": 2.0, "sender": {"cpu_seconds": 1.5, "frames": 5e6}}

    def relay(self, **asked: Any) -> dict[str, Any]:
        self.asked = asked
        return {"messages": 300, "seconds": 3.0, "p50_us": 1.0, "p99_us": 2.0, "max_us": 3.0}


def limit_of(programs: FakePrograms, result: dict[str, Any], **options: Any) -> Limit | None:
    given = {"rate": None, "window": 16, "body_bytes": 128, **options}
    return measure_limit(programs, result, given, disk=None)  # type: ignore[arg-type]


def test_limit_of_a_fan_out_sends_as_many_frames_of_the_same_size():
    programs = FakePrograms()
    limit = limit_of(programs, RESULT, scenario="fanout")
    assert programs.asked["connections"] == 1000
    assert (programs.asked["frames"], programs.asked["size"]) == (20.0, 182)
    assert limit is not None
    assert limit.values == pytest.approx(
        {"delivered_per_second": 3e6, "server_cpu_us_per_delivery": 0.3}
    )


def test_limit_of_a_paced_fan_out_has_its_pace_and_no_rate():
    programs = FakePrograms()
    limit = limit_of(programs, {**RESULT, "frames_per_send": 1.0}, scenario="fanout", rate=5.0)
    assert programs.asked["rate"] == 5.0
    assert limit is not None
    assert list(limit.values) == ["server_cpu_us_per_delivery"]


def test_relay_moves_as_many_bytes_as_the_server():
    programs = FakePrograms()
    result = {"connections": 100, "seconds": 9.0, "received_bytes_per_message": 400.0}
    limit = limit_of(programs, result, scenario="direct", window=4)
    assert (programs.asked["bytes"], programs.asked["answer"]) == (180, 220)
    assert programs.asked["window"] == 4
    assert limit is not None
    assert limit.values == {"messages_per_second": 100.0}
    limit_of(programs, {**result, "received_bytes_per_message": 360.0}, scenario="direct")
    assert programs.asked["answer"] != programs.asked["bytes"], "told apart by their lengths"


def test_scenario_without_a_limit_has_none():
    assert limit_of(FakePrograms(), RESULT, scenario="idle") is None
