"""`layout.json`: what was fixed when the data directory was made, and its format's version."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imfast.config.schema import PARTITIONS_MAX
from imfast.config.worker_document import Layout
from imfast.errors import DataDirectoryError
from imfast.supervisor.durable_file import write_atomically

__all__ = ["FORMAT_VERSION", "open_layout", "read_layout", "write_layout"]

FORMAT_VERSION = 1
"""Raised by every change that an older program would misread."""

FILE_NAME = "layout.json"


class _Version(BaseModel):
    """The only field whose meaning no version may change."""

    format: int = Field(ge=1)


class _LayoutFile(_Version):
    model_config = ConfigDict(extra="forbid")

    partitions: int = Field(ge=1, le=PARTITIONS_MAX)
    generation: int = Field(ge=1)
    hash_secret: str = Field(pattern="^[0-9a-f]{32}$")
    created: datetime


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
            hash_secret=secrets.token_hex(16),
        )
        write_layout(directory, layout)
    elif partitions is not None and partitions != layout.partitions:
        raise DataDirectoryError(
            f"data directory {directory} is laid out for {layout.partitions} partitions and"
            f" option partitions asks for {partitions}: leave the option away, or use another"
            " directory"
        )
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
    file = _parse(path, content)
    return Layout(
        partitions=file.partitions, generation=file.generation, hash_secret=file.hash_secret
    )


def write_layout(directory: Path, layout: Layout) -> None:
    """Fixes the layout of a directory, durably.

    Raises:
        OSError: it cannot be written.
    """
    content = orjson.dumps(
        {
            "format": FORMAT_VERSION,
            "partitions": layout.partitions,
            "generation": layout.generation,
            "hash_secret": layout.hash_secret,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
    )
    write_atomically(directory / FILE_NAME, content, mode=0o600, durable=True)


def _parse(path: Path, content: bytes) -> _LayoutFile:
    try:
        version = _Version.model_validate_json(content).format
        if version > FORMAT_VERSION:
            raise DataDirectoryError(
                f"data directory {path.parent} has format {version}, this program knows formats"
                f" up to {FORMAT_VERSION}: use the newer program that wrote it"
            )
        return _LayoutFile.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "file"
        raise DataDirectoryError(
            f"{path} is damaged ({where}: {problem['msg']}): put it back from a backup; without"
            " it the directory's data cannot be placed"
        ) from None
