"""A group whose subscribers read within TLS 1.3, beside the same in plaintext; durable messages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from benchmarks.tls.processes import cpu_s
from benchmarks.tls.sessions import open_readers
from imfast.client import Group, connect
from tests.support.certificates import Certificates
from tests.support.server import Server

SUBSCRIBERS = 300
MESSAGES = 2000
ROUNDS = 3
BODY = "x" * 128


async def fan_out(directory: Path) -> dict[str, Any]:
    """Microseconds of the worker's processor time for each delivery, in turns."""
    certificates = Certificates(directory / "certificates")
    costs: dict[str, list[float]] = {"plain": [], "tls": []}
    for number in range(ROUNDS):
        for name, context in (("plain", None), ("tls", certificates.context())):
            place = directory / f"{name}-{number}"
            async with Server(place, *certificates.flags, workers=1) as server:
                costs[name].append(await _round(server, context))
    medians = {name: sorted(found)[ROUNDS // 2] for name, found in costs.items()}
    return {
        "subscribers": SUBSCRIBERS,
        "messages": MESSAGES,
        **{f"{name}_us": round(cost, 3) for name, cost in medians.items()},
        "ratio": round(medians["tls"] / medians["plain"], 2),
        "ratios": [round(t / p, 2) for t, p in zip(costs["tls"], costs["plain"], strict=True)],
    }


async def _round(server: Server, context: Any) -> float:
    pid = server.worker(0).pid
    async with connect(server.url(), token=await server.token("sender")) as im:
        made = await im.create_group(title="all", members=["reader"])
        group = Group(made.conversation)
        readers = await open_readers(server, ["reader"] * SUBSCRIBERS, context)
        await asyncio.sleep(1.5)  # what came with the sessions is over
        before = [reader.received for reader in readers]
        began = cpu_s(pid)
        for first in range(0, MESSAGES, 500):
            count = min(500, MESSAGES - first)
            await asyncio.gather(*(im.send(group, text=BODY) for _ in range(count)))
        least = MESSAGES * len(BODY)
        while any(r.received - b < least for r, b in zip(readers, before, strict=True)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        spent = cpu_s(pid) - began
    for reader in readers:
        reader.transport.abort()
    return spent / (SUBSCRIBERS * MESSAGES) * 1e6
