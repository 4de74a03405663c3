"""The programs of benchmarks/limit: what the kernel does for the same bytes with no logic."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

__all__ = ["LimitPrograms", "LimitsUnavailableError"]

SOURCE = Path(__file__).parents[2] / "benchmarks/limit"
RUN_SECONDS_MAX = 120.0

Figures = dict[str, Any]
"""One JSON object that a program printed."""


class LimitsUnavailableError(Exception):
    """They cannot be built here; the message says what is missing."""


class LimitPrograms:
    """The programs, built."""

    def __init__(self, directory: Path | None = None) -> None:
        """Builds them into `directory`; without one, into the user's cache.

        Raises:
            LimitsUnavailableError: no source checkout, or no C compiler.
        """
        compiler = os.environ.get("CC", "cc")
        missing = [
            what
            for what, is_there in (
                ("a source checkout", (SOURCE / "Makefile").exists()),
                ("make", shutil.which("make")),
                (compiler, shutil.which(compiler)),
            )
            if not is_there
        ]
        if missing:
            raise LimitsUnavailableError(f"needs {' and '.join(missing)}")
        self._directory = directory or _cache()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            subprocess.run(  # noqa: S603 - our own Makefile, no shell
                ["make", "--quiet", "-C", SOURCE, f"OUT={self._directory}"],  # noqa: S607
                check=True,
                capture_output=True,
                text=True,
            )
        except OSError as error:
            raise LimitsUnavailableError(f"{self._directory}: {error.strerror}") from None
        except subprocess.CalledProcessError as error:
            raise LimitsUnavailableError(f"cannot be built: {error.stderr[-500:]}") from None

    def fan_out(
        self,
        *,
        connections: int,
        frames: float,
        size: int,
        ms: int,
        rate: float = 0,
        receive: Callable[[int], Figures] | None = None,
    ) -> Figures:
        """Pre-framed sends of `frames` frames (in the mean) of `size` bytes: what the sink counts.

        `rate`: rounds of all connections a second; 0: as fast as it goes. `receive`: counts in
        place of the sink, given the sender's port. The sender's own figures are under `sender`.
        """
        given = {"connections": connections, "frames": frames, "bytes": size, "rate": rate}
        with subprocess.Popen(  # noqa: S603 - our own program
            [self._directory / "fan_out", *_options(given)], stdout=subprocess.PIPE, text=True
        ) as sender:
            lines = cast(IO[str], sender.stdout)
            port = int(lines.readline())
            if receive:
                figures = receive(port)
            else:
                figures = self.run("sink", port=port, connections=connections, ms=ms)
            figures["sender"] = json.loads(lines.readline())
        return figures

    def relay(self, **options: float) -> Figures:
        """Deliver and answer: see `relay.c`."""
        return self.run("relay", **options)

    def accept(self, *, connections: int) -> Figures:
        """Accept and upgrade: see `accept.c`."""
        return self.run("accept", connections=connections)

    def sync_write(self, path: Path, *, size: int, ms: int) -> Figures:
        """Append `size` bytes and fdatasync, again and again."""
        return self.run("sync_write", path=path, bytes=size, ms=ms)

    def run(self, name: str, **options: object) -> Figures:
        """Runs one program; returns the object that it prints."""
        done = subprocess.run(  # noqa: S603 - our own program
            [self._directory / name, *_options(options)],
            check=True,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS_MAX,
        )
        figures: Figures = json.loads(done.stdout)
        return figures


def _options(options: dict[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in options.items()]


def _cache() -> Path:
    """A folder for these sources: checkouts that differ do not share programs."""
    content = hashlib.sha256()
    for file in sorted(SOURCE.iterdir()):
        if file.is_file():
            content.update(file.read_bytes())
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "imfast" / f"limit-{content.hexdigest()[:16]}"
