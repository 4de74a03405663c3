"""The native programs that measure: the load generator and the limits, built in release mode."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["ROOT", "Generator", "Limits", "build_generator"]

ROOT = Path(__file__).parents[2]

Figures = dict[str, Any]
"""One JSON object that a program printed."""


def build_generator() -> Path:
    """Builds `imfast-bench`; returns its path."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "rust/target"))
    manifest = ROOT / "rust/Cargo.toml"
    subprocess.run(
        [
            *("cargo", "build", "--quiet", "--release", "--manifest-path", manifest),
            *("--package", "imfast-bench", "--target-dir", target),
        ],
        check=True,
    )
    return target / "release/imfast-bench"


class Limits:
    """The programs of `benchmarks/limit`."""

    def __init__(self, directory: Path) -> None:
        """Builds them into `directory`."""
        self._directory = directory
        source = ROOT / "benchmarks/limit"
        subprocess.run(
            ["make", "--quiet", "-C", source, f"OUT={directory}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _run(self, name: str, **options: object) -> Figures:
        given = [f"{option}={value}" for option, value in options.items()]
        done = subprocess.run(
            [self._directory / name, *given], check=True, capture_output=True, text=True
        )
        figures: Figures = json.loads(done.stdout)
        return figures

    def fan_out(self, *, connections: int, frames: int, size: int, ms: int) -> Figures:
        """Pre-framed sends of `frames` frames of `size` bytes: what the bare sink counts.

        The sender's own figures are under `sender`.
        """
        with subprocess.Popen(
            [
                self._directory / "fan_out",
                f"connections={connections}",
                f"frames={frames}",
                f"bytes={size}",
            ],
            stdout=subprocess.PIPE,
            text=True,
        ) as sender:
            assert sender.stdout is not None
            port = int(sender.stdout.readline())
            figures = self._run("sink", port=port, connections=connections, ms=ms)
            figures["sender"] = json.loads(sender.stdout.readline())
        return figures

    def relay(self, **options: int) -> Figures:
        """Deliver and answer: see `relay.c`."""
        return self._run("relay", **options)

    def sync_write(self, path: Path, *, size: int, ms: int) -> Figures:
        """Append `size` bytes and fdatasync, again and again."""
        return self._run("sync_write", path=path, bytes=size, ms=ms)


@dataclass(frozen=True)
class Generator:
    """A run of `imfast-bench` against a server; a context manager while it holds connections."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, program: Path, *arguments: object) -> Self:
        """Starts a run; it waits where `--wait` or the scenario say so."""
        process = subprocess.Popen(
            [program, *(str(one) for one in arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return cls(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        # Closes the pipes and waits.
        self.process.__exit__(kind, error, traceback)

    def event(self, name: str) -> Figures:
        """Waits for the line with this event."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            figures: Figures = json.loads(line)
            if figures["event"] == name:
                return figures
        assert self.process.stderr is not None
        raise RuntimeError(f"the generator ended without {name}: {self.process.stderr.read()}")

    def result(self) -> Figures:
        """Ends its standard input; returns the run's result."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        figures = self.event("result")
        self.process.wait()
        return figures
