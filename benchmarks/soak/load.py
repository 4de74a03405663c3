"""The load: `imfast-bench verify`, its lines of progress, and its verdict."""

from __future__ import annotations

import asyncio
import json
import sys
from types import TracebackType
from typing import Any, Self

from benchmarks.soak.service import Service

__all__ = ["Load"]

LINE_BYTES_MAX = 1 << 22
# Everything that was sent has this long to arrive in the end.
DRAIN_SECONDS = 120
# The generator in a process of its own, from the module that the server is.
PROGRAM = (
    sys.executable,
    "-c",
    "import sys; from imfast._engine import run_load_generator as run; sys.exit(run(sys.argv[1:]))",
)


class Load:
    """A run of the generator."""

    def __init__(
        self,
        service: Service,
        *,
        connections: int,
        rate: float,
        seconds: float,
        transport: str,
        name: str = "load",
    ) -> None:
        """`name` begins the users' names: users of one run should be new to the server."""
        self.progress: list[dict[str, Any]] = []
        self.result: dict[str, Any] = {}
        self._begun = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        tokens = service.directory / f"{name}.tokens"
        users = [f"{name}-{number}" for number in range(connections)]
        tokens.write_text(
            "".join(f"{user} {service.token(user, seconds=seconds)}\n" for user in users)
        )
        self._command = [
            *(*PROGRAM, "verify", "--progress"),
            *("--transport", transport, "--port", str(service.port(transport))),
            *("--tokens", str(tokens), "--rate", str(rate), "--seconds", str(seconds)),
            *("--drain", str(DRAIN_SECONDS)),
        ]

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        self._reader = asyncio.create_task(self._read())
        begun = asyncio.create_task(self._begun.wait())
        await asyncio.wait([begun, self._reader], return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():
            begun.cancel()
            raise RuntimeError("the generator ended before it began")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reader is not None:
            self._reader.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            match said["event"]:
                case "begun":
                    self._begun.set()
                case "progress":
                    self.progress.append(said)
                case "result":
                    self.result = said
        await self._process.wait()

    async def finish(self) -> dict[str, Any]:
        """Wait for the end; return the result."""
        assert self._reader is not None
        await self._reader
        if not self.result:
            raise RuntimeError("the generator ended without a result")
        return self.result

    @property
    def running(self) -> bool:
        """Whether it still sends or waits for what was sent."""
        return self._reader is not None and not self._reader.done()
