"""Health, status and metrics over HTTP, on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from imfast.observe.metrics import CONTENT_TYPE, exposition
from imfast.supervisor.consumers import Consumers
from imfast.supervisor.process_usage import usage
from imfast.supervisor.readiness import reasons_against
from imfast.supervisor.supervisor import Supervisor

__all__ = ["Admin"]

REPORT_S = 0.5
"""How long a status waits for what workers report. A tick takes a few milliseconds."""


class Admin:
    """`/healthz`, `/readyz`, `/metrics` and `/v1/status`."""

    def __init__(
        self,
        supervisor: Supervisor,
        consumers: Consumers,
        listener: socket.socket,
        data_directory: Path,
        about: dict[str, Any],
    ) -> None:
        """`about` is the part of the status that does not change."""
        self._supervisor = supervisor
        self._consumers = consumers
        self._listener = listener
        self._data_directory = data_directory
        self._about = about
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/v1/status", self._status)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        """Begins to answer; also while workers are still replaying."""
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener).start()

    async def close(self) -> None:
        """Stops answering."""
        await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        """The supervisor lives: restart it only when this does not answer."""
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        """Clients are served: take it out of the balancer when this says no."""
        await self._ask()
        if reasons := reasons_against(self._supervisor, self._data_directory):
            return web.Response(status=503, text="\n".join(reasons) + "\n")
        return web.Response(text="ready\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        """Numbers for a monitoring system."""
        await self._ask()
        slots = self._supervisor.slots
        workers = [
            {**slot.status(), "process": usage(slot.process.pid) if slot.process else {}}
            for slot in slots
        ]
        shown = [self._supervisor.shown(slot) for slot in slots]
        consumers = self._consumers.status()
        text = exposition(workers, shown, consumers, ready=self._supervisor.is_ready)
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _ask(self) -> None:
        """Has the workers report. One that does not in time shows what it told last."""
        slots = self._supervisor.slots
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(slot.ask() for slot in slots)), REPORT_S)

    async def _status(self, _request: web.Request) -> web.Response:
        await self._ask()
        return web.json_response(
            {
                **self._about,
                "pid": os.getpid(),
                "ready": self._supervisor.is_ready,
                "stopping": self._supervisor.is_stopping,
                "workers": [slot.status() for slot in self._supervisor.slots],
                "consumers": self._consumers.status(),
            }
        )
