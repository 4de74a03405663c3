"""Attaches strace to a process that runs already, to watch it or to make its calls fail."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.deadline import until

__all__ = ["Attached", "require_attach"]


def require_attach(what: str) -> None:
    """Skip where strace cannot attach to another process, loudly; in CI that is a failure."""
    reason = None
    if shutil.which("strace") is None:
        reason = "strace is not installed"
    else:
        target = subprocess.Popen(["sleep", "60"])
        tracer = subprocess.Popen(
            ["strace", "-p", str(target.pid), "-o", "/dev/null"],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if "attached" not in said:
            reason = f"strace may not attach here: {said.strip()}"
        target.kill()
        target.wait()
        tracer.communicate()
    if reason is not None:
        assert os.environ.get("CI") != "true", f"this must run in CI, and {reason}"
        pytest.skip(f"NOT CHECKED {what}: {reason}")


class Attached:
    """In `async with`: strace is attached to all threads of a process, with these options."""

    def __init__(self, pid: int, output: Path, *options: str) -> None:
        self._pid = pid
        self.output = output
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        said = self.output.with_suffix(".stderr")
        process = self._process = self._spawn(said)

        def look() -> bool:
            text = said.read_text()
            assert process.poll() is None, f"strace ended: {text}"
            return "attached" in text and is_traced(self._pid)

        await until(look, f"strace on all threads of {self._pid}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process = self._process
        assert process is not None
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        await until(lambda: process.poll() is not None, "strace's end")

    def _spawn(self, said: Path) -> subprocess.Popen[bytes]:
        command = ["strace", "-f", "-p", str(self._pid), "-o", str(self.output), *self._options]
        with said.open("wb") as stderr:
            return subprocess.Popen(command, stderr=stderr)


def is_traced(pid: int) -> bool:
    """Whether every thread of a process has a tracer (proc(5), status)."""
    statuses = [task / "status" for task in Path(f"/proc/{pid}/task").iterdir()]
    return all("TracerPid:\t0\n" not in status.read_text() for status in statuses)
