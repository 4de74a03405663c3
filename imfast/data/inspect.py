"""Reads the commands of one partition's log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imfast._engine import LoggedCommand, read_log
from imfast.data.directory import layout_of, partition_directory
from imfast.errors import DataDirectoryError

__all__ = ["LoggedCommand", "commands"]

PAGE = 1000
"""Commands read at once: the memory that a command line may take."""


def commands(
    directory: Path, partition: int, *, from_position: int, count_max: int
) -> Iterator[LoggedCommand]:
    """Yields at most `count_max` commands from a position on.

    Raises:
        DataDirectoryError: the directory cannot be read as one, or has no such partition.
        imfast._engine.DataDamagedError: the log is damaged there.
    """
    layout = layout_of(directory)
    if partition >= layout.partitions:
        raise DataDirectoryError(
            f"data directory {directory} has partitions 0 to {layout.partitions - 1}"
        )
    path = partition_directory(directory, partition)
    if not path.is_dir():
        return
    while count_max > 0:
        page = read_log(path, from_position, min(PAGE, count_max))
        yield from page
        if len(page) < min(PAGE, count_max):
            return
        count_max -= len(page)
        from_position = page[-1].position + 1
