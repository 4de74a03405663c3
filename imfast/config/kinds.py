"""The kinds of options: how text becomes a value in native units."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from imfast.config.affinity import parse_affinity
from imfast.config.coalesce import parse_coalesce
from imfast.config.consumers import parse_consumers
from imfast.config.networks import parse_networks, parse_proxies
from imfast.config.units import parse_bytes, parse_count, parse_seconds

__all__ = [
    "AbsolutePath",
    "Affinity",
    "Bytes",
    "Coalesce",
    "Consumers",
    "Count",
    "Names",
    "Networks",
    "Paths",
    "Proxies",
    "Seconds",
]


def _names(value: object) -> object:
    """Splits ``a, b`` into its names: how a list is written in the environment and in flags."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _path(value: object) -> object:
    """Makes a path absolute: a worker's working directory is nobody's concern."""
    if value == "":
        raise ValueError("a path is not empty")
    if isinstance(value, str | Path):
        return Path(value).expanduser().absolute()
    return value


def _paths(value: object) -> object:
    """Splits ``a.pem, b.pem`` into absolute paths."""
    names = _names(value)
    return tuple(map(_path, names)) if isinstance(names, tuple | list) else names


Count = Annotated[int, BeforeValidator(parse_count)]
Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Seconds = Annotated[float, BeforeValidator(parse_seconds)]
AbsolutePath = Annotated[Path, BeforeValidator(_path)]
Coalesce = Annotated[str, BeforeValidator(parse_coalesce)]
Affinity = Annotated[str, BeforeValidator(parse_affinity)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Consumers = Annotated[tuple[str, ...], BeforeValidator(parse_consumers)]
Networks = Annotated[tuple[str, ...], BeforeValidator(parse_networks)]
Proxies = Annotated[tuple[str, ...], BeforeValidator(parse_proxies)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_paths)]
