"""Reads every log and archive of a data directory and lists what is damaged; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imfast._engine import (
    ArchiveReport,
    DataDamagedError,
    DataFormatError,
    LogReport,
    verify_archive,
    verify_log,
)
from imfast.data.directory import ARCHIVE, layout_of, partition_directory

__all__ = ["PartitionReport", "verify"]


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """One partition."""

    partition: int
    report: LogReport | None
    """None: never opened, or not readable as a log; then `problems` says why."""
    problems: tuple[str, ...]
    """Each with file, byte and cure; empty: whole."""
    notes: tuple[str, ...]
    """What the next start will clear away; no reason to worry."""
    archive: ArchiveReport | None = None
    """None: there is none, or it is not readable; then `problems` says why."""


def verify(directory: Path) -> Iterator[PartitionReport]:
    """Yields a report for each partition of the layout, in order.

    Raises:
        DataDirectoryError: the directory cannot be read as one.
    """
    layout = layout_of(directory)
    for partition in range(layout.partitions):
        path = partition_directory(directory, partition)
        if not path.is_dir():
            note = "not there: the partition was never opened"
            yield PartitionReport(partition, None, (), (note,))
            continue
        try:
            # First: a server goes on meanwhile, and its archive is never ahead of its log.
            archive = verify_archive(path / ARCHIVE)
            report = verify_log(path)
        except (DataDamagedError, DataFormatError, OSError) as error:
            yield PartitionReport(partition, None, (str(error),), ())
            continue
        foreign = sorted(set(report.layouts) - {(partition, layout.generation)})
        problems = [
            f"{file}: damaged at byte {byte}: {what}; {cure}"
            for file, byte, what, cure in report.damage
        ]
        problems += [
            f"{path}: holds segments of partition {number}, layout generation {generation},"
            f" expected {partition} and {layout.generation}; move them back to where they belong"
            for number, generation in foreign
        ]
        problems += _archive_problems(path / ARCHIVE, archive, report)
        yield PartitionReport(partition, report, tuple(problems), tuple(_notes(report)), archive)


def _archive_problems(
    path: Path, archive: ArchiveReport | None, report: LogReport
) -> Iterator[str]:
    whole_log = report.first_position <= 1
    cure = (
        "move the directory away, the next start makes it anew from the log"
        if whole_log and not report.damage
        else "make a data directory of a backup with `imfast data restore`"
    )
    if archive is None:
        if not whole_log:
            yield (
                f"{path}: not there, and the log begins at position {report.first_position}; {cure}"
            )
        return
    for _, text in archive.damage:
        yield f"{text}; {cure}"
    if archive.damage:
        return
    if archive.position + 1 < report.first_position:
        yield (
            f"{path}: ends at position {archive.position}, and the log begins at"
            f" {report.first_position}; {cure}"
        )
    # A log without a batch, all of whose older segments are gone, ends before it begins.
    end = max(report.last_position, report.first_position - 1)
    if archive.position > end and not report.damage:
        yield (
            f"{path}: is at position {archive.position}, ahead of its log, which ends at"
            f" {end}; {cure}"
        )


def _notes(report: LogReport) -> Iterator[str]:
    if report.torn is not None:
        file, offset, length = report.torn
        yield (
            f"{file}: ends with {length} bytes of an unfinished batch at byte {offset};"
            " nothing in it was acknowledged"
        )
    for file in report.ignored:
        yield f"{file}: has bytes of an overtaken writer, which nothing reads"
