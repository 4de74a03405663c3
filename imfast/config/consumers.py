"""Consumers of what was committed, as people write them: ``push=shop.push:deliver``."""

from __future__ import annotations

import re

__all__ = ["CONSUMERS_MAX", "consumer_names", "parse_consumers", "split_consumer"]

CONSUMERS_MAX = 16
"""Each is a process, and each reads everything."""

_CONSUMER = re.compile(
    r"(?:(?P<name>[a-z][a-z0-9_-]{0,31})=)?"
    r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<function>[A-Za-z_]\w*)",
    re.ASCII,
)
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)


def parse_consumers(value: object) -> object:
    """Turns ``a=m:f, m.n:g`` into ``("a=m:f", "g=m.n:g")``. Other types are the schema's."""
    if isinstance(value, str):
        value = tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, tuple | list):
        return value
    found: dict[str, str] = {}
    for text in value:
        match = _CONSUMER.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"{text!r} is not [NAME=]MODULE:FUNCTION")
        name = match["name"] or match["function"]
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{text!r}: give it a name of 1 to 32 of a-z, 0-9, _ and -: NAME={text}"
            )
        if name in found:
            raise ValueError(f"two consumers are called {name!r}: name one of them, NAME={text}")
        found[name] = f"{name}={match['module']}:{match['function']}"
    if len(found) > CONSUMERS_MAX:
        raise ValueError(f"{len(found)} consumers, of at most {CONSUMERS_MAX}")
    return tuple(found.values())


def split_consumer(text: str) -> tuple[str, str, str]:
    """Name, module and function of what `parse_consumers` returned."""
    name, _, target = text.partition("=")
    module, _, function = target.partition(":")
    return name, module, function


def consumer_names(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The names of them all."""
    return tuple(split_consumer(text)[0] for text in texts)
