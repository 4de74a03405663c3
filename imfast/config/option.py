"""What an option is besides its value: unit, range, environment name, when to touch it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import Field
from pydantic.fields import FieldInfo

from imfast.config.units import bytes_text, seconds_text

__all__ = ["ENVIRONMENT_PREFIX", "Option", "describe", "option", "value_text"]

ENVIRONMENT_PREFIX = "IMFAST_"

Unit = Literal["", "bytes", "seconds"]


@dataclass(frozen=True, slots=True)
class Option:
    """One option as documentation and error messages show it."""

    name: str
    unit: str
    """`bytes`, `seconds`, or empty for a plain number or text."""
    default: str
    """The default, written for people; for computed ones, how it is computed."""
    allowed: str
    """The range or the choices; empty: any text."""
    when: str
    """One line: what it is and when to touch it."""

    @property
    def environment(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def option(
    default: Any,
    *,
    when: str,
    unit: Unit = "",
    minimum: float | None = None,
    maximum: float | None = None,
    computed: str = "",
    allowed: str = "",
) -> Any:
    """Declares a field of the schema. `computed` tells what None stands for."""
    return Field(
        default=default,
        ge=minimum,
        le=maximum,
        allow_inf_nan=False if unit == "seconds" else None,
        description=when,
        json_schema_extra={"unit": unit, "computed": computed, "allowed": allowed},
    )


def describe(name: str, field: FieldInfo) -> Option:
    """Reads an option's description from its field in the schema."""
    extra = field.json_schema_extra
    if not isinstance(extra, dict):
        raise TypeError(f"{name} is declared without option()")
    unit = str(extra["unit"])
    return Option(
        name=name,
        unit=unit,
        default=str(extra["computed"]) or value_text(field.default, unit),
        allowed=str(extra["allowed"]) or _allowed(field, unit),
        when=field.description or "",
    )


def value_text(value: object, unit: str) -> str:
    """Writes a value the way the same option could be given on a command line."""
    if value is None:
        return "none"
    if unit == "bytes" and isinstance(value, int):
        return bytes_text(value)
    if unit == "seconds" and isinstance(value, int | float):
        return seconds_text(value)
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, Path):
        return str(value)
    return str(value)


def _allowed(field: FieldInfo, unit: str) -> str:
    if get_origin(field.annotation) is Literal:
        return " | ".join(map(str, get_args(field.annotation)))
    low = next((item.ge for item in field.metadata if hasattr(item, "ge")), None)
    high = next((item.le for item in field.metadata if hasattr(item, "le")), None)
    if low is None or high is None:
        return ""
    return f"{value_text(low, unit)} to {value_text(high, unit)}"
