"""The control channel's lines; imfast.config.worker_document has the contract."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from imfast.errors import ExitCode

__all__ = [
    "Asked",
    "ControlChannel",
    "ControlError",
    "Fatal",
    "Faults",
    "Ready",
    "Report",
    "Told",
]

LINE_BYTES_MAX = 1 << 20
"""Far above the longest line: `ready` with 1,024 partitions and their epochs."""


class ControlError(Exception):
    """A worker wrote what is no control line: it is broken."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker serves clients and its partitions."""

    partitions: tuple[int, ...]
    epochs: dict[int, int]


@dataclass(frozen=True, slots=True)
class Fatal:
    """The worker met what a restart does not cure."""

    text: str
    exit_code: ExitCode


@dataclass(frozen=True, slots=True)
class Faults:
    """What went wrong in the worker since its start, by kind."""

    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """Counters and latencies of the worker, as `/v1/status` shows them."""

    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """The worker asks all workers something."""

    number: int
    question: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """The worker's part of an answer to such a question."""

    number: int
    answer: Any


Message = Ready | Fatal | Faults | Report | Asked | Told


class ControlChannel:
    """The supervisor's end of one worker's channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, connection: socket.socket) -> ControlChannel:
        """Takes over a connected socket."""
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=LINE_BYTES_MAX)
        return cls(reader, writer)

    async def messages(self) -> AsyncIterator[Message]:
        """What the worker says, until it is gone.

        Raises:
            ControlError: it says what is not in the contract.
        """
        while True:
            try:
                line = await self._reader.readline()
            except ValueError:
                raise ControlError(f"a line longer than {LINE_BYTES_MAX} bytes") from None
            except ConnectionError:
                return
            if not line.endswith(b"\n"):  # the end, or half a line of a worker that was killed
                return
            yield _parse(line)

    def drain(self, seconds: float) -> None:
        """Tells the worker to finish and exit."""
        self._send({"drain": seconds})

    def retire(self, seconds: float) -> None:
        """Tells the worker to make room for its successor."""
        self._send({"retire": seconds})

    def adopt(self, index: int) -> None:
        """Tells the worker to accept on a sibling's listeners too."""
        self._send({"adopt": index})

    def release(self, index: int) -> None:
        """Tells the worker to leave a sibling's listeners alone again."""
        self._send({"release": index})

    def report(self) -> None:
        """Asks the worker how it goes."""
        self._send({"report": True})

    def tls(self, document: dict[str, Any]) -> None:
        """Gives the worker other TLS credentials."""
        self._send({"tls": document})

    def asked(self, number: int, question: dict[str, Any]) -> None:
        """Asks the worker for its part of an answer."""
        self._send({"asked": {"number": number, "question": question}})

    def answered(self, number: int, answer: dict[str, Any]) -> None:
        """Gives the worker the answers of all to its question."""
        self._send({"answered": {"number": number, "answer": answer}})

    def close(self) -> None:
        """Closes the channel."""
        self._writer.close()

    def _send(self, message: dict[str, Any]) -> None:
        # A few short lines in a worker's life: the transport's buffer bounds itself.
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps(message) + b"\n")


def _parse(line: bytes) -> Message:
    try:
        message = orjson.loads(line)
        if "fatal" in message:
            return Fatal(str(message["fatal"]), _exit_code(message.get("exit")))
        if "faults" in message:
            return Faults({str(kind): int(n) for kind, n in message["faults"].items()})
        if "report" in message:
            return Report(dict(message["report"]))
        if "ask" in message:
            return Asked(int(message["ask"]["number"]), dict(message["ask"]["question"]))
        if "told" in message:
            return Told(int(message["told"]["number"]), message["told"]["answer"])
        if message.get("ready") is True:
            return Ready(
                partitions=tuple(int(partition) for partition in message["partitions"]),
                epochs={int(name): int(epoch) for name, epoch in message["epochs"].items()},
            )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ControlError(f"not a control line ({error}): {line[:200]!r}") from None
    raise ControlError(f"unknown control line: {line[:200]!r}")


def _exit_code(value: object) -> ExitCode:
    known = {int(code): code for code in ExitCode if code is not ExitCode.OK}
    return (
        known.get(value, ExitCode.WORKER_FAILED)
        if isinstance(value, int)
        else (ExitCode.WORKER_FAILED)
    )
