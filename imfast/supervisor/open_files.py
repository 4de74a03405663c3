"""The limit of open files, which decides how many connections a worker can hold."""

from __future__ import annotations

import resource
from typing import Protocol

from imfast.errors import ConfigError

__all__ = ["connections_possible", "raise_open_files", "resolve_connections"]

RESERVED = 512
"""Descriptors of a worker that are no client connections: listeners, links, logs, Python's own."""


class Shares(Protocol):
    """The options that say who shares what may be open."""

    @property
    def connections_max(self) -> int | None: ...
    @property
    def worker_count(self) -> int: ...


def raise_open_files() -> int:
    """Raises the soft limit to the hard one, for the workers to inherit; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def resolve_connections(settings: Shares, open_files: int) -> int:
    """How many connections a worker takes.

    Raises:
        ConfigError: more are asked for than files may be open.
    """
    possible = connections_possible(settings, open_files)
    wanted = settings.connections_max
    if possible < 1 or (wanted is not None and wanted > possible):
        raise ConfigError(
            f"option connections_max: {wanted or 'as many as possible'}: this process may open"
            f" {open_files} files, which leaves {max(0, possible)} for connections; raise the"
            " limit (ulimit -n, LimitNOFILE=) or use more workers"
        )
    return possible if wanted is None else wanted


def connections_possible(settings: Shares, open_files: int) -> int:
    """Connections for which a worker that may open so many files has descriptors left."""
    # Every worker holds all listeners, to be able to adopt them, and a link to each sibling.
    return open_files - RESERVED - 4 * settings.worker_count
