"""Handshakes of `openssl s_time` with a worker, beside those with `openssl s_server`.

The same client and the same certificate, one process each.
"""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from typing import Any

from benchmarks.tls.processes import cpu_s
from tests.support.certificates import Certificates, run
from tests.support.server import Server

SECONDS = 3
COUNTED = re.compile(r"(\d+) connections in [\d.]+ real seconds")


async def handshakes(directory: Path) -> dict[str, Any]:
    """By version and kind: rates, and what a handshake takes of the server's processor time."""
    certificates = Certificates(directory / "certificates")
    found: dict[str, Any] = {}
    async with Server(directory / "server", *certificates.flags, workers=1) as server:
        port = free_port()
        limit = await asyncio.create_subprocess_exec(
            *("openssl", "s_server", "-accept", str(port), "-quiet", "-www"),
            *("-cert", str(certificates.path("server.pem"))),
            *("-key", str(certificates.path("server.key"))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await listening(port)
            for version in ("-tls1_3", "-tls1_2"):
                for kind in ("-new", "-reuse"):
                    ours = await measure(server.ready.tls, server.worker(0).pid, version, kind)
                    theirs = await measure(port, limit.pid, version, kind)
                    found[f"{version}{kind}".strip("-")] = {
                        "per_second": ours[0],
                        "limit_per_second": theirs[0],
                        "rate_ratio": round(ours[0] / theirs[0], 2),
                        "cpu_us": ours[1],
                        "limit_cpu_us": theirs[1],
                        "cpu_ratio": round(theirs[1] / ours[1], 2),
                    }
        finally:
            limit.kill()
            await limit.wait()
    return found


async def measure(port: int, pid: int, version: str, kind: str) -> tuple[int, float]:
    began = cpu_s(pid)
    status, text = await run(
        *("openssl", "s_time", "-connect", f"127.0.0.1:{port}", kind, version),
        *("-time", str(SECONDS)),
        timeout=SECONDS + 20,
    )
    spent = cpu_s(pid) - began
    counted = [int(count) for count in COUNTED.findall(text)]
    assert counted, (status, text)
    return round(counted[-1] / SECONDS), round(spent / counted[-1] * 1e6, 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def listening(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
