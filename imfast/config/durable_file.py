"""Small files that are either there completely or not at all."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["sync_directory", "write_atomically"]


def write_atomically(path: Path, content: bytes, *, mode: int, durable: bool) -> None:
    """Replaces `path` by `content`; a reader sees the old file or the new one.

    With `durable` the file and its directory entry survive a power cut once this returns.

    Raises:
        OSError: nothing was replaced.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes the entries of a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
