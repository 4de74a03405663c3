"""The data directory: made once, used by one server at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from imfast.config.durable_file import sync_directory
from imfast.errors import AlreadyRunningError, DataDirectoryError

__all__ = ["DataDirectory", "reload_outcome", "server_pid"]

LOCK_NAME = "lock"


class DataDirectory:
    """Holds the directory's lock from `__enter__` to `__exit__`.

    The lock belongs to the open file, which no worker inherits: it ends with this process,
    however this process ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    def __enter__(self) -> Self:
        """Makes the directory where it is missing, and locks it.

        Raises:
            AlreadyRunningError: another server holds it; the text has its pid.
            DataDirectoryError: it cannot be made or written.
        """
        try:
            self._create()
            lock_path = self.path / LOCK_NAME
            self._lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._acquire(lock_path)
        except OSError as error:
            self.close()
            raise DataDirectoryError(unusable(self.path, error)) from None
        except AlreadyRunningError:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Releases the lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _create(self) -> None:
        if self.path.is_dir():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700, exist_ok=True)
        sync_directory(self.path.parent)

    def _acquire(self, lock_path: Path) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # The holder writes its pid right after locking; an empty file means just now.
            holder = lock_path.read_text(encoding="ascii", errors="replace").strip() or "unknown"
            raise AlreadyRunningError(
                f"data directory {self.path} is in use by the server with pid {holder}"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)


def server_pid(path: Path) -> int | None:
    """The server that uses a data directory; None when there is none, or no such directory."""
    try:
        with (path / LOCK_NAME).open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read())
    except (FileNotFoundError, ValueError):
        pass
    return None


def reload_outcome(path: Path) -> Path:
    """Where a server tells how its last reload went: ``{"number": 3, "error": null}``."""
    return path / "run" / "reload.json"


def unusable(path: Path, error: OSError) -> str:
    """The text for a data directory that an operation failed in."""
    return f"data directory {path} cannot be used: {error.filename or path}: {error.strerror}"
