"""The report as one HTML file that needs nothing else: no script, no font, no picture elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from html import escape
from typing import Any

from imfast.bench.figures import Figure
from imfast.bench.machine import machine_text
from imfast.bench.plots import Plot, Point, Series
from imfast.bench.report import Report
from imfast.bench.scales import Linear, Logarithmic, Percentiles

__all__ = ["page"]

STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1d2329; --soft: #626c76;
  --rule: #e3e6ea; --alarm: #b3261e; --on-alarm: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ground: #15191e; --ink: #e4e8ec; --soft: #9aa5b1;
  --rule: #343b43; --alarm: #f2766d; --on-alarm: #15191e; } }
body { margin: 2.5rem auto; max-width: 46rem; padding: 0 1rem; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem; }
p { margin: .5rem 0; } .soft { color: var(--soft); }
.void { background: var(--alarm); color: var(--on-alarm); padding: .8rem 1rem; border-radius: 6px;
  margin: 1.2rem 0; } .void strong { font-size: 1.15rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; } th, td { padding: .35rem .7rem .35rem 0;
  border-bottom: 1px solid var(--rule); vertical-align: top; }
.number { text-align: right; white-space: nowrap; }
code, pre { font: 13px/1.45 ui-monospace, monospace; } pre { overflow-x: auto; padding: .7rem .9rem;
  border: 1px solid var(--rule); border-radius: 6px; white-space: pre-wrap; word-break: break-all; }
svg { display: block; width: 100%; height: auto; margin: .8rem 0; }
summary { cursor: pointer; }
"""

OPEN_LOOP = (
    "Open loop: messages were sent at their times, whatever the server did, and a latency runs from"
    " the time at which its message was to be sent. A stall of the server delays every message that"
    " was due meanwhile, and all of them are counted."
)
CLOSED_LOOP = (
    "Closed loop: a sender sends its next message when an earlier one is done. The rates say how"
    " much goes through; the latencies are flattering, because while the server stalls nothing is"
    " sent, and what was not sent has no latency. For latencies give a --rate."
)


def page(report: Report) -> str:
    """The whole document."""
    title = f"imfast bench {report.scenario}"
    body = "\n".join(_body(report, title))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _body(report: Report, title: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield f'<p class="soft">{escape(_occasion(report))}</p>'
    if report.void:
        reasons = "".join(f"<br>{escape(reason)}" for reason in report.void)
        yield f'<div class="void"><strong>VOID: nothing follows from this.</strong>{reasons}</div>'
    yield f"<pre>{escape(report.command)}</pre>"
    yield "<h2>Figures</h2>"
    yield _table(report)
    yield f'<p class="soft">Limit: {escape(report.limit_text)}.</p>'
    if len(report.samples) > 1:
        yield "<h2>Rate over time</h2>"
        yield _rate_plot(report).svg()
    if plot := _latency_plot(report):
        yield "<h2>Latency</h2>"
        yield plot.svg()
    yield f"<p>{escape(OPEN_LOOP if report.is_open_loop else CLOSED_LOOP)}</p>"
    result = json.dumps(_readable(report.result), indent=1, ensure_ascii=False)
    yield (
        "<h2>Everything that was counted</h2>\n<details><summary>the generator's result</summary>"
        f"<pre>{escape(result)}</pre></details>"
    )


def _readable(result: dict[str, Any]) -> dict[str, Any]:
    """Without the points of the plots, and the histograms that only programs read."""
    kept = {name: value for name, value in result.items() if name != "per_second"}
    for name, value in kept.items():
        if isinstance(value, dict):
            left_out = ("hdr", "percentiles")
            kept[name] = {key: one for key, one in value.items() if key not in left_out}
    return kept


def _occasion(report: Report) -> str:
    load = report.machine["load_before"]
    return (
        f"{report.date} · imfast {report.revision} · {machine_text(report.machine)}"
        f" · load average {load}"
    )


def _table(report: Report) -> str:
    rows = "\n".join(map(_row, report.figures))
    return (
        '<table>\n<thead><tr><th>figure</th><th class="number">measured</th>'
        '<th class="number">limit</th><th class="number">ratio</th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>"
    )


def _row(figure: Figure) -> str:
    limit = escape(figure.limit_text)
    if figure.limit_name:
        limit += f'<br><span class="soft">{escape(figure.limit_name)}</span>'
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    return (
        f'<tr><td>{escape(figure.name)}</td><td class="number">{escape(figure.text)}</td>'
        f'<td class="number">{limit}</td><td class="number">{ratio}</td></tr>'
    )


def _rate_plot(report: Report) -> Plot:
    points = [Point(sample.seconds, sample.per_second) for sample in report.samples]
    series = [Series("", points)]
    limit = report.limit.values.get("delivered_per_second") if report.limit else None
    if limit:
        ends = [Point(points[0].x, limit), Point(points[-1].x, limit)]
        series = [Series("imfast", points), Series("limit", ends, dashed=True)]
    highest = max(point.y for one in series for point in one.points)
    return Plot(
        title="",
        x_label="seconds of the measured time; below 0: warm-up",
        y_label="received a second",
        x=Linear(min(0.0, points[0].x), points[-1].x),
        y=Linear.from_zero(highest),
        series=series,
    )


def _latency_plot(report: Report) -> Plot | None:
    """Latency by percentile, or nothing where none was measured."""
    curves = [("", report.result.get("latency"))]
    if report.result.get("answer_latency"):
        curves = [("delivery", curves[0][1]), ("answer", report.result["answer_latency"])]
    series = [Series(name, points) for name, fields in curves if (points := _percentiles(fields))]
    if not series:
        return None
    every = [point for one in series for point in one.points]
    # Beyond one message in so many there is nothing but the longest.
    count = max(int(fields.get("count", 100)) for _, fields in curves if fields)
    nines = max(2, min(5, math.ceil(math.log10(max(count, 1)))))
    return Plot(
        title="",
        x_label="share of messages that took no longer",
        y_label="ms",
        x=Percentiles(nines),
        y=Logarithmic.around([point.y for point in every]),
        series=series,
    )


def _percentiles(latency: dict[str, Any] | None) -> list[Point]:
    if not latency:
        return []
    known = latency.get("percentiles")
    if isinstance(known, list):
        pairs = [(quantile, at) for quantile, at in known if quantile < 1]
    else:
        names = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p999_us": 0.999}
        pairs = [(quantile, latency[name]) for name, quantile in names.items() if name in latency]
    return [Point(quantile, at / 1e3) for quantile, at in pairs]
