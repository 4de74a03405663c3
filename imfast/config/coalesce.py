"""How long a frame to a group waits for others: the option's form, and what the engine is told."""

from __future__ import annotations

__all__ = ["coalesce_ms", "parse_coalesce"]

ADAPTIVE = "adaptive"
WAIT_MS_MAX = 1000


def parse_coalesce(value: object) -> object:
    """Checks ``adaptive`` or milliseconds, as ``2`` or ``2ms``; other types are the schema's."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        value = value.replace(" ", "").removesuffix("ms")
        coalesce_ms(value)
    return value


def coalesce_ms(coalesce: str) -> int | None:
    """The milliseconds that the option names; None where the load decides.

    Raises:
        ValueError: it is in no known form.
    """
    if coalesce == ADAPTIVE:
        return None
    if not (coalesce.isascii() and coalesce.isdigit() and int(coalesce) <= WAIT_MS_MAX):
        raise ValueError(f"{ADAPTIVE}, 0, or milliseconds up to {WAIT_MS_MAX}")
    return int(coalesce)
