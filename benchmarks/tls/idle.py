"""PSS of one more idle session within TLS: the slope between two numbers of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from benchmarks.tls.processes import pss_bytes
from benchmarks.tls.sessions import open_readers
from tests.support.certificates import Certificates
from tests.support.server import Server

FEW, MANY = 500, 2500
SETTLE_S = 2.5


async def idle(directory: Path) -> dict[str, Any]:
    """Bytes for each, plain and within TLS."""
    certificates = Certificates(directory / "certificates")
    slopes = {}
    for name, context in (("plain", None), ("tls", certificates.context())):
        flags = (*certificates.flags, "--address-rate", "0", "--unauthenticated-max", "4096")
        async with Server(directory / name, *flags, workers=1) as server:
            sizes = []
            readers = []
            for count in (FEW, MANY):
                readers += await open_readers(server, ["idle"] * (count - len(readers)), context)
                await asyncio.sleep(SETTLE_S)
                sizes.append(pss_bytes(server.worker(0).pid))
            slopes[name] = round((sizes[1] - sizes[0]) / (MANY - FEW))
            for reader in readers:
                reader.transport.abort()
    return {"sessions": MANY, **{f"{name}_pss_bytes": size for name, size in slopes.items()}}
