"""A headless Chromium, driven over its DevTools protocol by a plain WebSocket."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.support.deadline import until

__all__ = ["Chromium", "Tab", "chromium_program"]

NAMES = ("chromium", "chromium-browser", "google-chrome")
START_S = 60.0


def chromium_program() -> str:
    """The browser; without one the test is skipped, and says so."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium is installed: apt-get install chromium")


class Chromium:
    """One browser with a profile of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._websocket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._open: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def __aenter__(self) -> Chromium:
        self._directory.mkdir(parents=True, exist_ok=True)
        flags = (
            "--headless=new",
            "--no-sandbox",  # CI runs as root, for which the sandbox refuses to start
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--window-size=760,560",
            "--remote-debugging-port=0",
            f"--user-data-dir={self._directory}",
        )
        with (self._directory / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it waits for nothing
                [chromium_program(), *flags, "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        written = self._directory / "DevToolsActivePort"

        def address() -> str | None:
            lines = written.read_text().splitlines() if written.exists() else []
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}" if len(lines) > 1 else None

        url = await until(address, "the browser's port", timeout=START_S)
        self._websocket = await connect(url, max_size=None, proxy=None, ping_interval=None)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._websocket is not None:
            await self.call("Browser.close")
            await self._websocket.close()
        if self._reader is not None:
            await self._reader
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def call(
        self, method: str, session: str | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """One command; fails with what the browser says."""
        assert self._websocket is not None
        number = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._open[number] = future
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        await self._websocket.send(json.dumps(message))
        async with asyncio.timeout(START_S):
            answer = await future
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def tab(self, url: str) -> Tab:
        """Opens a page."""
        made = await self.call("Target.createTarget", url=url, newWindow=True)
        target = made["targetId"]
        attached = await self.call("Target.attachToTarget", targetId=target, flatten=True)
        return Tab(self, attached["sessionId"])

    async def _read(self) -> None:
        assert self._websocket is not None
        async for text in self._websocket:
            message = json.loads(text)
            future = self._open.pop(message.get("id", 0), None)
            if future is not None and not future.done():
                future.set_result(message)


class Tab:
    """One page."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session

    async def run(self, script: str) -> Any:
        """The value of an expression, which may be a promise."""
        answer = await self._browser.call(
            "Runtime.evaluate",
            self._session,
            expression=script,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def wait(self, script: str, what: str, *, timeout: float = 30.0) -> Any:
        """Waits until an expression is true, and returns it."""
        found = None
        try:
            async with asyncio.timeout(timeout):
                while not found:
                    found = await self.run(script)
        except TimeoutError:
            page = await self.run("document.body.innerText")
            raise AssertionError(f"not within {timeout} s: {what}; the page:\n{page}") from None
        return found

    async def screenshot(self, path: Path) -> None:
        """What the page looks like."""
        answer = await self._browser.call("Page.captureScreenshot", self._session, format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(answer["data"]))
