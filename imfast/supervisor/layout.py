"""`layout.json`: what was fixed when the data directory was made, and its format's version."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from string import hexdigits

import orjson

from imfast.config.durable_file import write_atomically
from imfast.config.worker_document import PARTITIONS_MAX, Layout
from imfast.errors import DataDirectoryError

__all__ = ["FORMAT_VERSION", "open_layout", "read_layout", "write_layout"]

FORMAT_VERSION = 2
"""Raised by every change that an older program would misread."""

FILE_NAME = "layout.json"

HASH_SECRET_DIGITS = 32


def open_layout(directory: Path, *, partitions: int | None, partitions_default: int) -> Layout:
    """Reads the layout, or fixes it when the directory is new.

    Args:
        partitions: what was asked for; None takes what is there.
        partitions_default: the number for a new directory when none was asked for.

    Raises:
        DataDirectoryError: newer, damaged, or laid out for another number of partitions.
        OSError: the directory cannot be read or written.
    """
    layout = read_layout(directory)
    if layout is None:
        layout = Layout(
            partitions=partitions or partitions_default,
            generation=1,
            hash_secret=secrets.token_hex(HASH_SECRET_DIGITS // 2),
        )
        write_layout(directory, layout)
        return layout
    if partitions is not None and partitions != layout.partitions:
        raise DataDirectoryError(
            f"data directory {directory} is laid out for {layout.partitions} partitions and"
            f" option partitions asks for {partitions}: leave the option away, or use another"
            " directory"
        )
    _take_over(directory, layout)
    return layout


def read_layout(directory: Path) -> Layout | None:
    """Reads the layout; None where the directory has none.

    Raises:
        DataDirectoryError: newer or damaged.
        OSError: it cannot be read.
    """
    path = directory / FILE_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return _as_written(content) or _judged(path, content)


def _take_over(directory: Path, layout: Layout) -> None:
    """Marks a directory of an earlier format: an older program may not read what we write."""
    fields = orjson.loads((directory / FILE_NAME).read_bytes())
    if fields["format"] < FORMAT_VERSION:
        write_layout(directory, layout, created=fields["created"])


def write_layout(directory: Path, layout: Layout, *, created: str = "") -> None:
    """Fixes the layout of a directory, durably; `created` is now unless it is told.

    Raises:
        OSError: it cannot be written.
    """
    content = _encoded(layout, created or datetime.now(UTC).isoformat(timespec="seconds"))
    write_atomically(directory / FILE_NAME, content, mode=0o600, durable=True)


def _encoded(layout: Layout, created: str) -> bytes:
    return orjson.dumps(
        {
            "format": FORMAT_VERSION,
            "partitions": layout.partitions,
            "generation": layout.generation,
            "hash_secret": layout.hash_secret,
            "created": created,
        },
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
    )


def _as_written(content: bytes) -> Layout | None:
    """The layout of a file that is byte for byte as this version writes one; else None.

    That is almost every file, and what judges the others takes long to load.
    """
    try:
        fields = orjson.loads(content)
        created = fields["created"]
        datetime.fromisoformat(created)
        layout = Layout(fields["partitions"], fields["generation"], fields["hash_secret"])
        is_ours = (
            type(layout.partitions) is type(layout.generation) is int
            and 1 <= layout.partitions <= PARTITIONS_MAX
            and layout.generation >= 1
            and len(layout.hash_secret) == HASH_SECRET_DIGITS
            and set(layout.hash_secret) <= set(hexdigits.lower())
            and _encoded(layout, created) == content
        )
    except (KeyError, TypeError, ValueError):
        return None
    return layout if is_ours else None


def _judged(path: Path, content: bytes) -> Layout:
    from imfast.supervisor.layout_file import judged

    file = judged(path, content, format_version=FORMAT_VERSION)
    return Layout(
        partitions=file.partitions, generation=file.generation, hash_secret=file.hash_secret
    )
