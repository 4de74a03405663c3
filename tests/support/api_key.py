"""Keys of the server API, and requests with them, on a server under test."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.support.server import ROOT, Server

__all__ = ["Backend", "backend", "key_command"]


async def key_command(server: Server, *arguments: str) -> str:
    """Run `imfast key`; what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "imfast", "key", *arguments),
        *("--data-dir", str(server.data)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode().strip()


class Backend:
    """A backend with a key; one connection for each request, so that any worker may have it."""

    def __init__(self, server: Server, key: str, *, keep: bool = False) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        if not keep:
            headers["Connection"] = "close"
        self.client = httpx.AsyncClient(
            base_url=server.url("http"), headers=headers, trust_env=False, timeout=30
        )

    async def __aenter__(self) -> Backend:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def raw(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Ask, and take whatever is answered."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(f"/v1/server/{path}", json=body, headers=named)

    async def __call__(self, path: str, body: Any, **headers: str) -> dict[str, Any]:
        """Ask for what must be granted."""
        answer = await self.raw(path, body, **headers)
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    async def refusal(self, path: str, body: Any, **headers: str) -> tuple[int, str]:
        """Status and reason of what must be refused."""
        answer = await self.raw(path, body, **headers)
        assert answer.headers["Content-Type"] == "application/problem+json", answer.text
        problem = answer.json()
        assert problem["status"] == answer.status_code
        return answer.status_code, problem["reason"]


@asynccontextmanager
async def backend(server: Server, *scopes: str, keep: bool = False) -> AsyncIterator[Backend]:
    """A backend with a key of its own for these scopes, or all."""
    flags = [flag for scope in scopes or ("all",) for flag in ("--scope", scope)]
    key = await key_command(server, "create", "test", *flags)
    async with Backend(server, key, keep=keep) as asking:
        yield asking
