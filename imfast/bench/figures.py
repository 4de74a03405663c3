"""A run's figures, each with its unit and its limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imfast.bench.limits import Limit
from imfast.bench.scales import short

__all__ = ["Figure", "figures_of", "void_reasons"]

Result = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    limit_name: str = ""

    @property
    def ratio(self) -> float | None:
        """The figure as a part, or a multiple, of its limit."""
        return self.value / self.limit if self.limit else None

    @property
    def text(self) -> str:
        """The value with its unit."""
        return _with_unit(self.value, self.unit)

    @property
    def limit_text(self) -> str:
        """The limit with its unit; empty where there is none."""
        return "" if self.limit is None else _with_unit(self.limit, self.unit)


@dataclass(frozen=True)
class _Known:
    """A field of the generator's result that is a figure."""

    field: str
    name: str
    unit: str
    scale: float = 1.0


_RATES = (
    _Known("delivered_per_second", "delivered", "/s"),
    _Known("messages_per_second", "messages sent, answered and, where pushed, delivered", "/s"),
    _Known("requests_per_second", "requests answered", "/s"),
    _Known("acked_per_second", "answered", "/s"),
    _Known("connects_per_second", "connected", "/s"),
    _Known("frames_per_send", "frames in a send of the server", ""),
    _Known("server_cpu_us_per_delivery", "server CPU for a delivery", "µs"),
    _Known("server_cpu_us_per_message", "server CPU for a message", "µs"),
    _Known("server_cpu_us_per_request", "server CPU for a request, deliveries included", "µs"),
    _Known("server_cpu_us_per_connect", "server CPU for a connection", "µs"),
    _Known("server_cpu_us_per_return", "server CPU for a connection that returns", "µs"),
    _Known("server_memory_kib_per_connection", "server memory for a connection", "KiB"),
)

_LATENCIES = (
    _Known("p50_us", "latency, median", "ms", 1e-3),
    _Known("p99_us", "latency, 99 %", "ms", 1e-3),
    _Known("p999_us", "latency, 99.9 %", "ms", 1e-3),
    _Known("max_us", "latency, longest", "ms", 1e-3),
)

_SHARES = (
    _Known("server_user_cpu_seconds", "server CPU in our code", "cores"),
    _Known("server_kernel_cpu_seconds", "server CPU in the kernel", "cores"),
)

_OTHER_LATENCIES = {
    "back": "return of a connection",
    "bystanders_calm": "bystanders' latency, before",
    "bystanders_storm": "bystanders' latency, meanwhile",
    "outages": "outage",
}
"""Further distributions → their names."""

_COUNTS = ("delivered", "returned", "breaks", "attempts_failed")
"""Of scenarios that check instead of measure a rate."""

_FAULTS = (
    *("lost", "repeated", "reordered", "skipped", "duplicated", "conflicting"),
    *("failed", "unanswered", "surplus", "unreadable"),
)
"""Counts that are zero in a run that means anything."""


def figures_of(result: Result, limit: Limit | None) -> list[Figure]:
    """What a person wants to know of a run, most important first."""
    found = [_figure(known, result, limit) for known in _RATES if _has(result, known.field)]
    latency = result.get("latency") or {}
    found += [_figure(known, latency, limit) for known in _LATENCIES if _has(latency, known.field)]
    for field, name in _OTHER_LATENCIES.items():
        times = result.get(field) or {}
        if times.get("count"):
            found.append(Figure(f"{name}, 99 %", times["p99_us"] / 1e3, "ms"))
            found.append(Figure(f"{name}, longest", times["max_us"] / 1e3, "ms"))
    if "wrong" in result:
        names = [name for name in _COUNTS if _has(result, name)]
        found += [Figure(name.replace("_", " "), result[name], "") for name in names]
    if limit and limit.commit and latency:
        found += [_committed(known, latency, limit) for known in _LATENCIES[:2]]
    for kind, fields in (result.get("kinds") or {}).items():
        found += _of_kind(kind, fields)
    seconds = result.get("seconds") or 0
    if seconds and result.get("server_cpu_seconds"):
        for known in _SHARES:
            if _has(result, known.field):
                found.append(Figure(known.name, result[known.field] / seconds, known.unit))
    if _has(result, "client_cores"):
        found.append(Figure("generator's own CPU", result["client_cores"], "cores"))
    return found


def void_reasons(result: Result) -> list[str]:
    """Why nothing follows from this run; empty for one that holds."""
    reasons = []
    if result.get("saturated"):
        reasons.append(
            "the generator was saturated: it measured itself, and the server may do more. Give it"
            " more --processes, a lower --rate, or processors that the server does not use"
        )
    for fault in _FAULTS:
        count = result.get(fault) or 0
        if isinstance(count, int | float) and count:
            first = result.get("first_error") if fault == "failed" else None
            reasons.append(f"{fault}: {count:,}" + (f" ({first})" if first else ""))
    return reasons


def _has(fields: Result, name: str) -> bool:
    """Whether the field is there; no processor time at all means that none was measured."""
    value = fields.get(name)
    return isinstance(value, int | float) and not (name.startswith("server_") and value == 0)


def _figure(known: _Known, fields: Result, limit: Limit | None) -> Figure:
    at = limit.values.get(known.field) if limit else None
    return Figure(
        known.name,
        fields[known.field] * known.scale,
        known.unit,
        at * known.scale if at is not None else None,
        limit.name if limit and at is not None else "",
    )


def _of_kind(kind: str, fields: Result) -> list[Figure]:
    """One verb of a mix."""
    latency = fields.get("latency") or fields.get("answer_latency") or {}
    found = []
    if _has(fields, "answered_per_second"):
        found.append(Figure(f"- {kind}: answered", fields["answered_per_second"], "/s"))
    if _has(latency, "p99_us"):
        found.append(Figure(f"- {kind}: latency, 99 %", latency["p99_us"] / 1e3, "ms"))
    return found


def _committed(known: _Known, latency: Result, limit: Limit) -> Figure:
    return Figure(
        f"- the same beside the disk ({known.name.partition(', ')[2]})",
        latency[known.field] * known.scale,
        known.unit,
        limit.commit[known.field] * known.scale,
        "write + fdatasync of 1 KiB",
    )


def _with_unit(value: float, unit: str) -> str:
    if unit == "ms" and value >= 1000:
        value, unit = value / 1000, "s"
    return f"{short(value)}{'' if unit.startswith('/') else ' '}{unit}".rstrip()
