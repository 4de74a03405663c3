"""Judges a `layout.json` that is not just as we write one, and says what is wrong with it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imfast.config.worker_document import PARTITIONS_MAX
from imfast.errors import DataDirectoryError

__all__ = ["LayoutFile", "judged"]


class _Version(BaseModel):
    """The only field whose meaning no version may change."""

    format: int = Field(ge=1)


class LayoutFile(_Version):
    model_config = ConfigDict(extra="forbid")

    partitions: int = Field(ge=1, le=PARTITIONS_MAX)
    generation: int = Field(ge=1)
    hash_secret: str = Field(pattern="^[0-9a-f]{32}$")
    created: datetime


def judged(path: Path, content: bytes, *, format_version: int) -> LayoutFile:
    """The file's fields.

    Raises:
        DataDirectoryError: newer or damaged.
    """
    try:
        version = _Version.model_validate_json(content).format
        if version > format_version:
            raise DataDirectoryError(
                f"data directory {path.parent} has format {version}, this program knows formats"
                f" up to {format_version}: use the newer program that wrote it"
            )
        return LayoutFile.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "file"
        raise DataDirectoryError(
            f"{path} is damaged ({where}: {problem['msg']}): put it back from a backup; without"
            " it the directory's data cannot be placed"
        ) from None
