"""Sizes and durations as people write them, turned into bytes and seconds once, at the border."""

from __future__ import annotations

import math
import re

__all__ = ["bytes_text", "parse_bytes", "parse_seconds", "seconds_text"]

_QUANTITY = re.compile(r"\s*(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[A-Za-z]*)\s*")

_BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_bytes(value: object) -> object:
    """Turns ``"64 KiB"`` into 65536. What is not text stays as it is, for the schema to judge."""
    if not isinstance(value, str):
        return parse_count(value)
    match = _QUANTITY.fullmatch(value)
    if match is None or match["unit"] not in _BYTES:
        raise ValueError("a size is a number of bytes, or a number with B, KiB, MiB, GiB or TiB")
    size = float(match["number"]) * _BYTES[match["unit"]]
    if not size.is_integer():
        raise ValueError("a size is a whole number of bytes")
    return int(size)


def parse_seconds(value: object) -> object:
    """Turns ``"500ms"`` into 0.5. What is not text stays as it is, for the schema to judge."""
    if not isinstance(value, str):
        return parse_count(value)
    match = _QUANTITY.fullmatch(value)
    if match is None or match["unit"] not in _SECONDS:
        raise ValueError("a time is a number of seconds, or a number with ms, s, m, h or d")
    return float(match["number"]) * _SECONDS[match["unit"]]


def parse_count(value: object) -> object:
    """Refuses true and false, which would otherwise pass for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return value


def bytes_text(size: int) -> str:
    """Writes 65536 as ``64 KiB``: the largest unit that leaves a whole number."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]} {unit}"
    return f"{size} B"


def seconds_text(seconds: float) -> str:
    """Writes 86400.0 as ``24 h``: the largest unit that leaves a whole number."""
    if seconds == 0:
        return "0 s"
    for unit in ("h", "m", "s"):
        if math.fmod(seconds, _SECONDS[unit]) == 0:
            return f"{int(seconds // _SECONDS[unit])} {unit}"
    return f"{seconds * 1000:g} ms"
