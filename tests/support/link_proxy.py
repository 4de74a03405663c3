"""Stands on the links between the workers of a server and does to their frames what a test wants.

Workers dial each other lazily, by the path of a Unix socket: a proxy that takes the path over
before the first client connects sees every frame.
"""

from __future__ import annotations

import asyncio
import enum
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.support.deadline import until
from tests.support.server import Server

__all__ = ["HEADER_BYTES", "NO_PARTITION", "CutError", "Kind", "LinkFrame", "LinkProxy", "Way"]

# See rust/engine/src/links/frame.rs: u32 length of the rest, u8 kind, u8 check, u16 partition,
# u64 epoch, u64 number; little-endian.
HEADER = struct.Struct("<IBBHQQ")
HEADER_BYTES = HEADER.size
NO_PARTITION = 0xFFFF


class Kind(enum.IntEnum):
    """What a frame says."""

    HELLO = 1
    COMMAND = 2
    EPHEMERAL = 3
    QUERY = 4
    BEAT = 5
    CURSOR = 6
    SEAT = 7
    UNSEATED = 8
    PRESENCE = 9
    WELCOME = 16
    REPLY = 17
    DELIVER = 18
    DELIVER_EPHEMERAL = 19
    WATERMARK = 20
    NOTICE = 21
    UNSEAT = 22
    STANDS = 23


class Way(enum.Enum):
    """Where a frame goes."""

    TO_OWNER = "to the owner"
    TO_GATEWAY = "to the gateway"


@dataclass(frozen=True)
class LinkFrame:
    """One frame on its way."""

    way: Way
    # Index of the worker that was dialled.
    owner: int
    kind: Kind
    partition: int
    epoch: int
    number: int
    payload: bytes

    def encoded(self) -> bytes:
        """The bytes of this frame, with the right check byte."""
        length = HEADER_BYTES - 4 + len(self.payload)
        header = HEADER.pack(length, self.kind, 0, self.partition, self.epoch, self.number)
        check = 0
        for byte in header:
            check ^= byte
        return header[:5] + bytes([check]) + header[6:] + self.payload

    def of_epoch(self, epoch: int) -> LinkFrame:
        """The same as another epoch of its partition would have sent it."""
        return replace(self, epoch=epoch)


class CutError(Exception):
    """Raised by a policy: some last bytes are still passed on, then the connection breaks."""

    def __init__(self, last: bytes = b"") -> None:
        super().__init__("cut")
        self.last = last


Policy = Callable[[LinkFrame], bytes]


def untouched(frame: LinkFrame) -> bytes:
    """The policy that changes nothing."""
    return frame.encoded()


class LinkProxy:
    """Takes over the links of a server in `async with`, which no client has used yet."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._listeners: list[asyncio.Server] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = {way: asyncio.Event() for way in Way}
        for event in self._flowing.values():
            event.set()
        # What is done with each frame; replaced by the test.
        self.policy: Policy = untouched
        # Every frame that came, whatever the policy then did with it.
        self.seen: list[LinkFrame] = []
        # Connections that were dialled.
        self.dialled = 0
        # What went wrong in here: shown by the end of the `async with`.
        self._faults: list[BaseException] = []

    async def __aenter__(self) -> Self:
        for owner, path in enumerate(self._paths()):
            real = path.with_suffix(".real")
            path.rename(real)
            listener = await asyncio.start_unix_server(
                lambda reader, writer, owner=owner, real=real: self._dialled(
                    owner, real, reader, writer
                ),
                path,
            )
            self._listeners.append(listener)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for listener in self._listeners:
            listener.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self.cut()
        if kind is None:
            assert not self._faults, f"the proxy itself failed: {self._faults}"

    def reset(self) -> None:
        """Do nothing to frames from now on, and forget those that were seen."""
        self.policy = untouched
        self.seen.clear()
        for event in self._flowing.values():
            event.set()

    def cut(self) -> None:
        """Break every link now."""
        for writer in self._writers:
            writer.transport.abort()

    def stall(self, way: Way) -> None:
        """Read no more frames of one direction, so that they pile up where they come from."""
        self._flowing[way].clear()

    def resume(self, way: Way) -> None:
        """Read again."""
        self._flowing[way].set()

    async def quiet(self) -> None:
        """Wait until nothing but beats and watermarks was seen for several of them."""

        def look() -> bool:
            recent = self.seen[-12:]
            return len(recent) == 12 and all(
                frame.kind in (Kind.BEAT, Kind.WATERMARK) for frame in recent
            )

        await until(look, "an idle link")

    def _paths(self) -> list[Path]:
        """The sockets' files, by worker; wherever the server found room for their names."""
        supervisor = psutil.Process(self.server.ready.pid)
        paths = {
            Path(one.laddr)
            for one in supervisor.net_connections("unix")
            if isinstance(one.laddr, str) and one.laddr.endswith(".sock")
        }
        assert len(paths) == len(self.server.ready.workers), paths
        return sorted(paths)

    async def _dialled(
        self, owner: int, real: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.dialled += 1
        try:
            owner_reader, owner_writer = await asyncio.open_unix_connection(real)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, owner_writer}
        self._writers |= ends
        pumps = [
            asyncio.create_task(self._pump(Way.TO_OWNER, owner, reader, owner_writer)),
            asyncio.create_task(self._pump(Way.TO_GATEWAY, owner, owner_reader, writer)),
        ]
        self._pumps.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        # A link is whole or gone: the death of one direction ends the other.
        for pump in pumps:
            pump.cancel()
        for end in ends:
            # What was passed on before still arrives, even half a frame.
            end.close()
        self._writers -= ends
        self._pumps.difference_update(pumps)

    async def _pump(
        self, way: Way, owner: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await self._flowing[way].wait()
                frame = await self._read(way, owner, reader)
                # A direction that was stalled meanwhile passes nothing more.
                await self._flowing[way].wait()
                self.seen.append(frame)
                try:
                    passed = self.policy(frame)
                except CutError as cut:
                    writer.write(cut.last)
                    await writer.drain()
                    return
                except BaseException as fault:
                    self._faults.append(fault)
                    raise
                if passed:
                    writer.write(passed)
                    await writer.drain()

    async def _read(self, way: Way, owner: int, reader: asyncio.StreamReader) -> LinkFrame:
        header = await reader.readexactly(HEADER_BYTES)
        length, kind, _, partition, epoch, number = HEADER.unpack(header)
        payload = await reader.readexactly(length + 4 - HEADER_BYTES)
        frame = LinkFrame(way, owner, Kind(kind), partition, epoch, number, payload)
        if frame.encoded() != header + payload:
            self._faults.append(AssertionError(f"not a frame as we write it: {header.hex()}"))
        return frame
