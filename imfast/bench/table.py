"""The report on a terminal or in a pipe: a table, and loudly what makes it void."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from imfast.bench.report import Report

__all__ = ["print_report"]

HEADINGS = ("figure", "measured", "limit", "ratio", "limit is")


def print_report(report: Report) -> None:
    """Prints to standard output."""
    rows = [
        (
            figure.name,
            figure.text,
            figure.limit_text,
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            figure.limit_name,
        )
        for figure in report.figures
    ]
    if sys.stdout.isatty():
        _print_rich(report, rows)
    else:
        _print_plain(report, rows)


def _foot(report: Report) -> str:
    return f"limit: {report.limit_text}"


def _print_plain(report: Report, rows: Sequence[tuple[str, ...]]) -> None:
    lines = [HEADINGS, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    for line in lines:
        cells = (
            text.ljust(width) if column in (0, 4) else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(cells).rstrip())
    print(_foot(report))
    if report.void:
        print("VOID: nothing follows from this run")
        for reason in report.void:
            print(f"VOID: {reason}")


def _print_rich(report: Report, rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"imfast bench {report.scenario}", title_justify="left")
    for column, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if column in (0, 4) else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    console.print(table)
    console.print(Text(_foot(report), style="dim"))
    if report.void:
        reasons = Text("\n".join(report.void))
        title = "VOID: nothing follows from this run"
        console.print(Panel(reasons, title=title, border_style="bold red", style="red"))
