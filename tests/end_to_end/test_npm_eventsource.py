"""The EventSource that Node's users install, through a cut of its connection."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.api_key import backend
from tests.support.cut_proxy import CutProxy
from tests.support.server import Server

SCRIPT = """
import {EventSource} from "eventsource";
const [url, token] = process.argv.slice(2);
const source = new EventSource(url, {
  fetch: (input, init) =>
    fetch(input, {...init, headers: {...init.headers, Authorization: `Bearer ${token}`}}),
});
source.onmessage = event => console.log(event.data);
"""
INSTALL_S = 90.0


async def installed(directory: Path) -> None:
    """Install the package, or skip and say why."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed: apt-get install nodejs npm")
    process = await asyncio.create_subprocess_exec(
        *("npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "eventsource@4"),
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(INSTALL_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        pytest.skip("npm did not answer in time")
    if process.returncode:
        pytest.skip(f"npm has no eventsource: {output.decode()[-500:]}")


@pytest.mark.timeout(180)
async def test_npm_eventsource_misses_nothing_when_its_connection_breaks(
    shared: Server, tmp_path: Path
) -> None:
    await installed(tmp_path)
    (tmp_path / "listen.mjs").write_text(SCRIPT)
    token = await shared.token("npm-b")
    async with backend(shared) as ask, CutProxy(shared.ready.http) as proxy:
        node = await asyncio.create_subprocess_exec(
            *("node", "listen.mjs", f"http://127.0.0.1:{proxy.port}/v1/events?device=n", token),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
        )
        assert node.stdout is not None
        texts: list[str] = []
        seqs: list[int] = []

        async def read_until(what: str) -> None:
            assert node.stdout is not None
            async with asyncio.timeout(30):
                async for line in node.stdout:
                    frame = json.loads(line)
                    message = frame.get("message")
                    if message is not None and message["seq"] not in seqs:
                        texts.append(message["text"])
                        seqs.append(message["seq"])
                    if what in frame or texts[-1:] == [what]:
                        return
            raise AssertionError(f"the end of node's output before {what}")

        async def say(text: str) -> None:
            await ask("send", {"from": "npm-a", "to": {"user": "npm-b"}, "text": text})

        try:
            await read_until("caughtUp")
            await say("one")
            await read_until("one")
            await read_until("checkpoint")
            await proxy.cut()
            await say("two")
            await say("three")
            await proxy.mend()
            await read_until("three")
            await say("four")
            await read_until("four")
        finally:
            node.kill()
            await node.wait()
        assert texts == ["one", "two", "three", "four"]
        assert seqs == [1, 2, 3, 4]
