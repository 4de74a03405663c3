"""How far a run is: a line that moves on a terminal, else a line a second. On standard error."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Protocol, Self

from imfast.bench.scales import short

__all__ = ["Progress", "progress"]


class Progress(Protocol):
    """Where progress is shown, while the context lasts."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def say(self, text: str) -> None:
        """What begins now."""

    def show(self, event: dict[str, Any]) -> None:
        """A `progress` event of the generator."""


def progress(total_seconds: float) -> Progress:
    """Fits what standard error is."""
    return _Bar(total_seconds) if sys.stderr.isatty() else _Lines()


def _text(event: dict[str, Any]) -> str:
    """What every scenario tells in words; of one that checks, its counts as they are."""
    if "per_second" in event:
        return f"{event['connections']:,} connections, {short(event['per_second'])}/s received"
    counts = {name: value for name, value in event.items() if isinstance(value, int)}
    return ", ".join(f"{value} {name}" for name, value in counts.items())


class _Lines:
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def show(self, event: dict[str, Any]) -> None:
        since = f"{event['seconds']:6.1f} s  " if "seconds" in event else ""
        self.say(since + _text(event))


class _Bar:
    def __init__(self, total_seconds: float) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        columns = (TimeElapsedColumn(), BarColumn(), TextColumn("{task.description}"))
        self._progress = RichProgress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task("", total=total_seconds)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._progress.update(self._task, description=text)

    def show(self, event: dict[str, Any]) -> None:
        completed = event.get("seconds")
        self._progress.update(self._task, completed=completed, description=_text(event))
