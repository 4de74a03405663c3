"""Which processor a worker runs on: the option's form, and what it means for one worker."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

__all__ = ["cores", "parse_affinity", "processor_of", "processors"]

PROCESSOR_MAX = 4095
_RANGE = re.compile(r"(?P<first>[0-9]{1,4})(?:-(?P<last>[0-9]{1,4}))?")


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def parse_affinity(value: object) -> object:
    """Checks ``auto``, ``off`` or processors like ``0,2-5``; other types are the schema's."""
    if isinstance(value, str):
        value = value.replace(" ", "")
        processors(value)
    return value


def processors(affinity: str) -> list[int]:
    """The processors that the option names, in its order; none for ``auto`` and ``off``.

    Raises:
        ValueError: it names none, or in no known form.
    """
    if affinity in {"auto", "off"}:
        return []
    found: list[int] = []
    for part in affinity.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError("auto, off, or processors like 0,2-5")
        first, last = int(match["first"]), int(match["last"] or match["first"])
        if not first <= last <= PROCESSOR_MAX:
            raise ValueError(f"{part}: a range goes up, to {PROCESSOR_MAX} at most")
        found.extend(range(first, last + 1))
    return found


def processor_of(affinity: str, worker: int, possible: Collection[int]) -> int | None:
    """The processor of worker `worker`; None where it is left to the kernel.

    Processors are given out in turn: worker 0 gets the first. `possible` are those that the
    process may use, what ``auto`` gives out.
    """
    if affinity == "off":
        return None
    order = processors(affinity) or sorted(possible)
    return order[worker % len(order)]
