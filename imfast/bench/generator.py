"""A run of the load generator as a child process, and the JSON lines that it prints."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType, TracebackType
from typing import IO, Any, Self, cast

__all__ = ["Generator", "GeneratorError"]

STOP_SECONDS = 5.0

Event = dict[str, Any]
"""One line: an object with an `event` of `ready`, `progress` or `result`."""


class GeneratorError(RuntimeError):
    """The generator could not do what it was asked to; the message is its own."""


class Generator:
    """A run; a context manager that leaves no process behind."""

    def __init__(self, *arguments: object, command: Sequence[str] | None = None) -> None:
        """Starts it. `command` runs another program in place of the native generator."""
        program = command or (sys.executable, "-m", "imfast.bench.child")
        self.process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [*program, *(str(one) for one in arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A group of its own: it may start further processes, which end with it.
            process_group=0,
        )
        # All three are there: they were asked for.
        self._input = cast(IO[str], self.process.stdin)
        self._output = cast(IO[str], self.process.stdout)
        self._errors = cast(IO[str], self.process.stderr)
        self._complaints: list[str] = []
        # Read all along: a child that fills the pipe would stop.
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
        self._listener.join(STOP_SECONDS)
        # Closes the pipes and waits.
        self.process.__exit__(kind, error, traceback)

    def events(self) -> Iterator[Event]:
        """Every line as it comes; the last one is the result.

        Raises:
            GeneratorError: it ended without one.
        """
        for line in self._output:
            event: Event = json.loads(line)
            yield event
            if event["event"] == "result":
                return
        self.process.wait()
        self._listener.join(STOP_SECONDS)
        said = "\n".join(self._complaints[-20:]).removeprefix("imfast-bench: ")
        raise GeneratorError(said or f"ended with {self.process.returncode} and no result")

    def event(self, name: str) -> Event:
        """Waits for the line with this event."""
        return next(event for event in self.events() if event["event"] == name)

    @contextlib.contextmanager
    def ended_by_interrupt(self) -> Iterator[None]:
        """While this is open, an interrupt ends the generator, and then the block.

        Python's own handler raises wherever the main thread happens to be; in a callback whose
        errors are only printed, the interrupt would be lost.

        Raises:
            KeyboardInterrupt: there was one.
        """
        interrupted = False

        def end(_number: int, _frame: FrameType | None) -> None:
            nonlocal interrupted
            interrupted = True
            self._signal(signal.SIGTERM)

        before = signal.signal(signal.SIGINT, end)
        try:
            yield
        except GeneratorError:
            if not interrupted:
                raise
        finally:
            signal.signal(signal.SIGINT, before)
        if interrupted:
            raise KeyboardInterrupt

    def say(self, line: str) -> None:
        """Writes a line to its standard input."""
        self._input.write(line + "\n")
        self._input.flush()

    def release(self) -> None:
        """Ends its standard input: what waits for that, goes on or ends."""
        self._input.close()

    def result(self) -> Event:
        """Ends its standard input; returns the run's result."""
        self.release()
        result = self.event("result")
        self.process.wait()
        return result

    def _signal(self, number: signal.Signals) -> None:
        # Gone already, with all of its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _listen(self) -> None:
        self._complaints.extend(line.rstrip() for line in self._errors)
