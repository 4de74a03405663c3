"""A data directory as it lies on the disk, without its lock: a server may be running on it."""

from __future__ import annotations

from pathlib import Path

from imfast.config.worker_document import Layout
from imfast.errors import DataDirectoryError
from imfast.supervisor.data_directory import unusable
from imfast.supervisor.layout import read_layout

__all__ = ["ARCHIVE", "layout_of", "partition_directory"]

ARCHIVE = "archive"
"""Beside the segments of a log."""


def layout_of(directory: Path) -> Layout:
    """The layout of a data directory or of a backup.

    Raises:
        DataDirectoryError: it is none, newer, damaged or unreadable.
    """
    try:
        layout = read_layout(directory)
    except OSError as error:
        raise DataDirectoryError(unusable(directory, error)) from None
    if layout is None:
        raise DataDirectoryError(
            f"{directory} holds no layout.json: neither a data directory nor a backup of one"
        )
    return layout


def partition_directory(directory: Path, partition: int) -> Path:
    """Where a partition's log is."""
    return directory / "partitions" / str(partition)
