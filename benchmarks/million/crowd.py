"""The connections: processes of the load generator, each with a share of the users."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.million.plan import Plan, write_tokens
from imfast.bench.generator import Event, Generator

__all__ = ["Crowd"]

OPENED_AT_ONCE = 24
"""By each process: all of them together are not to wait longer than a client may for its turn."""

SOURCES = 200
"""Client addresses: the kernel has some 28,000 ports for each."""


class Crowd:
    """Opens them all on entry; ends them on exit."""

    def __init__(self, directory: Path, plan: Plan, *, port: int, secret: bytes) -> None:
        """Tokens are made here, which takes a while."""
        self._port = port
        self._files = []
        self._generators: list[Generator] = []
        self._stack = ExitStack()
        self.servers: dict[str, int] = {}
        """Worker → connections that it has."""
        for number, users in enumerate(plan.shares()):
            path = directory / f"tokens-{number}"
            write_tokens(path, users, secret)
            self._files.append(path)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for path in self._files:
                generator = Generator(
                    "idle",
                    *("--transport", "ws-proto"),
                    *("--port", self._port),
                    *("--tokens", path),
                    *("--sources", SOURCES),
                    *("--concurrency", OPENED_AT_ONCE),
                )
                self._generators.append(stack.enter_context(generator))
            for ready in self._all("ready"):
                for server, count in ready["servers"].items():
                    self.servers[server] = self.servers.get(server, 0) + count
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def ping(self, seconds: float) -> tuple[int, int]:
        """Have every connection ping once; return how many did, and how many were answered."""
        self._say(f"ping {seconds}")
        said = self._all("pinged")
        return sum(one["connections"] for one in said), sum(one["answered"] for one in said)

    def arrivals(self) -> tuple[int, int]:
        """Messages since the last time, and when the last came (ns of the monotonic clock)."""
        self._say("arrivals")
        said = self._all("arrived")
        return sum(one["messages"] for one in said), max(one["latest_ns"] for one in said)

    def living(self) -> int:
        """Processes that still run: one whose connection broke has ended."""
        return sum(generator.process.poll() is None for generator in self._generators)

    def _say(self, line: str) -> None:
        for generator in self._generators:
            generator.say(line)

    def _all(self, event: str) -> Sequence[Event]:
        return [generator.event(event) for generator in self._generators]
