"""The peers' part of `benchmarks/README.md`, from what a run has written.

python -m benchmarks.peers.table [FILE]
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.flow.figures import Spread
from benchmarks.peers.registry import PEERS
from benchmarks.peers.results import PATH, SATURATED
from imfast.bench.scales import short

__all__ = ["render"]

DURABLE, LIMIT = "imfast, durable", "limit"


def render(results: dict[str, Any]) -> str:
    """Markdown: what the peers are, then one table for each work, and what is missing."""
    lines = [
        f"Revision {results['revision']}, {results['date']}, {results['machine']};"
        f" others used {short(results['cores_of_others'])} cores meanwhile.",
        "",
        *_peers(results),
    ]
    by_work: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for measured in results["measured"]:
        by_work[measured["work"]].append(measured)
    for work, measured in by_work.items():
        lines += ["", f"**{work[0].upper()}{work[1:]}**", "", *_work(measured)]
    if results["skipped"]:
        lines += ["", *(f"- {what}: {why}" for what, why in results["skipped"].items())]
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    return str(Spread.of(values)) if len(values) > 1 else short(values[0])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _header(*cells: str) -> list[str]:
    return [_row(list(cells)), _row(["---"] * len(cells))]


def _peers(results: dict[str, Any]) -> list[str]:
    lines = _header("peer", "version", "promises", "settings")
    for peer in PEERS:
        version = results["versions"].get(peer.name, "not installed")
        lines.append(_row([peer.name, version, peer.guarantee, peer.settings]))
    return lines


def _work(measured: list[dict[str, Any]]) -> list[str]:
    """A line for each server; of each figure its value, and both kinds of imfast by it."""
    figures = list(dict.fromkeys(one["figure"] for one in measured))
    cells: dict[tuple[str, str], dict[str, Any]] = {
        (one["name"], one["figure"]): one for one in measured
    }
    names = list(dict.fromkeys(one["name"] for one in measured))
    beside = ("imfast / it", "durable / it")
    lines = _header("", *(heading for figure in figures for heading in (figure, *beside)))
    row = ["imfast, ephemeral"]
    for figure in figures:
        values = [value for one in measured if one["figure"] == figure for value in one["imfast"]]
        row += [_spread(values), "", ""]
    lines.append(_row(row))
    for name in sorted(names, key=lambda name: (name != DURABLE, name != LIMIT)):
        row = [name]
        for figure in figures:
            one = cells.get((name, figure))
            row += [_value(one), *_ratios(one, cells.get((DURABLE, figure)))]
        lines.append(_row(row))
    return lines


def _value(one: dict[str, Any] | None) -> str:
    if one is None:
        return ""
    notes = f" ({', '.join(one['notes'])})" if one["notes"] else ""
    return _spread(one["values"]) + notes


def _ratios(one: dict[str, Any] | None, durable: dict[str, Any] | None) -> tuple[str, str]:
    """Of the pairs; durable runs are no half of a pair, so theirs is one of medians."""
    if one is None or not one["imfast"]:
        return "", ""
    if SATURATED in one["notes"] and "CPU" not in one["figure"]:
        return "void", "void"
    ratios = [ours / it for ours, it in zip(one["imfast"], one["values"], strict=True) if it]
    median = Spread.of(one["values"]).median
    beside = short(Spread.of(durable["values"]).median / median) if durable and median else ""
    return _spread(ratios), beside


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PATH
    print(render(json.loads(path.read_text())), end="")
