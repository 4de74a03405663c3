"""A small file system of its own (tmpfs) that can be full for a while."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["CannotMountError", "SmallDisk"]

FILLER_CHUNK_BYTES = 1 << 20


class CannotMountError(OSError):
    """Mounting needs root, and a kernel that lets this process mount."""


class SmallDisk:
    """A tmpfs mounted over `directory` from entry to exit.

    Its `fsync` does nothing: what a kill leaves behind can be seen on it, what a power cut leaves
    cannot.
    """

    def __init__(self, directory: Path, *, mebibytes: int) -> None:
        """`directory` is made when it is missing."""
        self.directory = directory
        self._mebibytes = mebibytes
        self._filler = directory / "filler"
        self._end: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        """Mount; raises `CannotMountError` with what `mount` said."""
        self.directory.mkdir(parents=True, exist_ok=True)
        size = f"size={self._mebibytes}m"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.directory)],
            capture_output=True,
            text=True,
        )
        if mounted.returncode != 0:
            raise CannotMountError(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._end is not None:
            self._end.cancel()
        # Lazily: whoever was killed a moment ago may still hold a file.
        subprocess.run(["umount", "--lazy", str(self.directory)], check=True)

    def fill(self) -> None:
        """Take all room that is left, to the last byte."""
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        size = FILLER_CHUNK_BYTES
        while size:
            try:
                os.write(descriptor, bytes(size))
            except OSError:
                size //= 2
        os.close(descriptor)

    def free(self) -> None:
        """Give the room back."""
        self._filler.unlink()

    def fill_for(self, seconds: float) -> None:
        """Fill it; the running event loop frees it after a while."""
        self.fill()
        self._end = asyncio.get_running_loop().call_later(seconds, self.free)

    @property
    def is_full(self) -> bool:
        """Whether it is filled at the moment."""
        return self._filler.exists()
