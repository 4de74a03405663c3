"""Probes: what a user of the client library notices of a kill.

For each worker and partition there is one probe: a client that is connected to this worker and
sends to a conversation of this partition, every 100 ms whatever happened to the sends before.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass, field

import imfast
from benchmarks.soak.service import Service
from imfast.client import ConnectionClosedError, IMFastError, Options

__all__ = ["Probe", "Sample", "open_probes"]

EVERY_SECONDS = 0.1
"""Between two sends of a probe."""
TIMEOUT_SECONDS = 60.0
KEEN = Options(backoff_cap=0.1)
"""A client waits ever longer between its attempts to reconnect, for others' sake. A probe does not:
it is to tell how long the server was away."""
ATTEMPTS_MAX = 200


@dataclass
class Sample:
    """One send. Times are of the monotonic clock, in seconds."""

    intended: float
    # None: never answered.
    answered: float | None = None

    def latency(self, now: float) -> float:
        """Return the time from when it was to be sent to its answer, or to `now`."""
        return (now if self.answered is None else self.answered) - self.intended


@dataclass
class Probe:
    """One client and its conversation."""

    service: Service
    user: str
    token: str
    server: str
    partition: int
    samples: list[Sample] = field(default_factory=list)
    _client: imfast.IMFast | None = None
    _peer: str = ""
    _task: asyncio.Task[None] | None = None
    _sends: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def at(self) -> str:
        """The worker that it is connected to now."""
        return "" if self._client is None else self._client.connected.server

    async def open(self) -> None:
        """Connect to the wanted worker, find a conversation, and begin to send."""
        self._client = await self._connect()
        if not self._peer:
            self._peer = await self._find_peer(self._client)
        self._task = asyncio.create_task(self._run(self._client))

    async def close(self) -> None:
        """Stop sending, wait for answers under way, disconnect."""
        if self._task is not None:
            self._task.cancel()
        if self._sends:
            await asyncio.wait(self._sends)
        if self._client is not None:
            await self._client.close()

    async def return_home(self) -> None:
        """Connect to the wanted worker again if a kill has driven it elsewhere."""
        if self.at != self.server:
            await self.close()
            await self.open()

    async def _connect(self) -> imfast.IMFast:
        # The kernel spreads connections over the workers: the next one may land elsewhere.
        for _ in range(ATTEMPTS_MAX):
            client = imfast.connect(self.service.url, token=self.token, options=KEEN)
            await client.__aenter__()
            if client.connected.server == self.server:
                return client
            await client.close()
        raise RuntimeError(f"no connection landed on {self.server}")

    async def _find_peer(self, client: imfast.IMFast) -> str:
        for number in itertools.count():
            peer = f"{self.user}-peer-{number}"
            sent = await client.send(peer, text="which partition?")
            if int(sent.position.partition("-")[0]) == self.partition:
                return peer
        raise AssertionError("itertools.count ends never")

    async def _run(self, client: imfast.IMFast) -> None:
        loop = asyncio.get_running_loop()
        drop = asyncio.create_task(_drop_updates(client))
        try:
            first = loop.time()
            for number in itertools.count():
                intended = first + number * EVERY_SECONDS
                await asyncio.sleep(intended - loop.time())
                sample = Sample(intended)
                self.samples.append(sample)
                task = asyncio.create_task(self._send(client, sample))
                self._sends.add(task)
                task.add_done_callback(self._sends.discard)
        finally:
            drop.cancel()

    async def _send(self, client: imfast.IMFast, sample: Sample) -> None:
        # Whatever the error: the sample has no answer, and counts as failed.
        with contextlib.suppress(IMFastError, ConnectionClosedError, TimeoutError):
            await client.send(self._peer, text="probe", timeout=TIMEOUT_SECONDS)
            sample.answered = asyncio.get_running_loop().time()


async def _drop_updates(client: imfast.IMFast) -> None:
    async for _ in client:
        pass


async def open_probes(service: Service, *, seconds: float) -> list[Probe]:
    """Open a probe for each worker and partition."""
    workers = service.workers()
    partitions = sorted(partition for worker in workers for partition in worker.partitions)
    probes = []
    for worker in workers:
        for partition in partitions:
            user = f"probe-{worker.server}-{partition}"
            token = service.token(user, seconds=seconds)
            probes.append(Probe(service, user, token, worker.server, partition))
    await asyncio.gather(*(probe.open() for probe in probes))
    return probes
