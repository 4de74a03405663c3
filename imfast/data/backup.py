"""Copies a data directory while its server runs, and back."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from imfast._engine import DataDamagedError, DataFormatError, copy_log
from imfast.config.worker_document import Layout
from imfast.data.directory import layout_of, partition_directory
from imfast.errors import DataDirectoryError
from imfast.outbox.store import copy_store, store_path, stores_of
from imfast.supervisor.layout import write_layout

__all__ = ["Copied", "back_up", "restore"]

GENERATION_STEP_MAX = 1 << 16
"""Two restores of one backup must not share a generation, or one would take the other's tokens."""


@dataclass(frozen=True, slots=True)
class Copied:
    """One partition."""

    partition: int
    segments: int
    bytes: int
    last_position: int


def back_up(directory: Path, target: Path) -> Iterator[Copied]:
    """Copies every log as it is at that moment; each partition is consistent in itself. So is what
    readers of the outbox keep, which is never ahead of the logs.

    Commands acknowledged before this was called are in the copy. `layout.json` is written last: a
    target without it is no backup. Secrets, keys and configuration stay where they are.

    Raises:
        DataDirectoryError: the directory cannot be read as one, its log is damaged, or the target
            is not empty or cannot be written.
    """
    yield from _copy(directory, target, layout_of(directory), generation=None)


def restore(backup: Path, target: Path) -> Iterator[Copied]:
    """Makes a new data directory of a backup.

    It gets another layout generation: sync tokens given out after the backup name positions that
    the restored logs will use for something else, so servers must not take them.

    Raises:
        DataDirectoryError: as `back_up`.
    """
    layout = layout_of(backup)
    generation = layout.generation + 1 + secrets.randbelow(GENERATION_STEP_MAX)
    yield from _copy(backup, target, replace(layout, generation=generation), generation=generation)


def _copy(
    source: Path, target: Path, layout: Layout, *, generation: int | None
) -> Iterator[Copied]:
    try:
        if target.exists() and any(target.iterdir()):
            raise DataDirectoryError(f"{target} is not empty: name a directory that is not there")
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Before the logs: no reader's position is ahead of its log.
        for name, path in stores_of(source).items():
            copy_store(path, store_path(target, name), generation)
        for partition in range(layout.partitions):
            path = partition_directory(source, partition)
            if path.is_dir():
                copied = copy_log(path, partition_directory(target, partition), generation)
                yield Copied(partition, *copied)
        write_layout(target, layout)
    except (DataDamagedError, DataFormatError, OSError) as error:
        raise DataDirectoryError(f"not copied: {error}") from None
