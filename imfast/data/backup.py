"""Copies a data directory while its server runs, and back."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from imfast._engine import (
    DataDamagedError,
    DataFormatError,
    copy_archive,
    copy_log,
    verify_archive,
)
from imfast.config.worker_document import Layout
from imfast.data.directory import ARCHIVE, layout_of, partition_directory
from imfast.errors import DataDirectoryError
from imfast.outbox.store import copy_store, store_path, stores_of
from imfast.supervisor.layout import write_layout

__all__ = ["Copied", "back_up", "restore"]

GENERATION_STEP_MAX = 1 << 16
"""Two restores of one backup must not share a generation, or one would take the other's tokens."""

COPIES_MAX = 10
"""A server may remove the log behind an archive that was just copied; then both are copied anew."""


@dataclass(frozen=True, slots=True)
class Copied:
    """One partition."""

    partition: int
    segments: int
    bytes: int
    """Of log and archive."""
    last_position: int


def back_up(directory: Path, target: Path) -> Iterator[Copied]:
    """Copies every log and archive as it is at that moment; each partition is consistent in itself.
    So is what readers of the outbox keep, which is never ahead of the logs.

    Commands acknowledged before this was called are in the copy. `layout.json` is written last: a
    target without it is no backup. Secrets, keys and configuration stay where they are.

    Raises:
        DataDirectoryError: the directory cannot be read as one, its data is damaged, or the target
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
                place = partition_directory(target, partition)
                yield _copy_partition(partition, path, place, generation)
        write_layout(target, layout)
    except (DataDamagedError, DataFormatError, OSError) as error:
        raise DataDirectoryError(f"not copied: {error}") from None


def _copy_partition(partition: int, source: Path, target: Path, generation: int | None) -> Copied:
    for _ in range(COPIES_MAX):
        # The archive first: it is never ahead of a log that is read later.
        position, archive_bytes, wrong = _copy_archive(source, target, generation)
        segments, log_bytes, first, last = copy_log(source, target, generation)
        if first <= position + 1 or first <= 1:
            return Copied(partition, segments, archive_bytes + log_bytes, last)
        if wrong is not None:
            raise wrong
        shutil.rmtree(target)
    raise DataDirectoryError(f"not copied: {source} changed whenever it was copied; try again")


def _copy_archive(
    source: Path, target: Path, generation: int | None
) -> tuple[int, int, DataDamagedError | None]:
    """Position and bytes of the copy, both 0 without one; and what is wrong with the archive.

    A log that goes back to the beginning makes up for an archive that is of no use.
    """
    archive = target / ARCHIVE
    wrong = None
    try:
        copied = copy_archive(source / ARCHIVE, archive, generation)
        if copied is None:
            return 0, 0, None
        report = verify_archive(archive)
        if report is not None and not report.damage:
            return *copied, None
        wrong = DataDamagedError(f"{source / ARCHIVE} is damaged: see `imfast data verify`")
    except DataDamagedError as error:
        wrong = error
    shutil.rmtree(archive, ignore_errors=True)
    return 0, 0, wrong
