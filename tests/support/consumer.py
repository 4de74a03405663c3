"""A consumer of committed messages that writes down what it gets, and fails where a test says so.

Runs in the server's consumer process. `CONSUMER_DIRECTORY` has its notes, and a file `orders` with
a JSON object: texts to `fail` at, to `die` at and to `hang` at; `stop` holds every call up, `down`
fails every one.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imfast.outbox.effect import Effect
from tests.support.deadline import until
from tests.support.server import ROOT, Server

__all__ = ["Handed", "Notes", "OrderedFailureError", "take", "take_async"]

STOP_SECONDS = 0.01
STATUS = 3


class OrderedFailureError(Exception):
    """What a test asked for."""


def take(effects: Sequence[Effect]) -> None:
    """Writes effects down as handed over, or fails as ordered before any is."""
    directory = Path(os.environ["CONSUMER_DIRECTORY"])
    while (orders := _orders(directory)).get("stop"):
        time.sleep(STOP_SECONDS)
    texts = [getattr(effect.row, "json", None) for effect in effects]
    with (directory / "calls").open("a") as calls:
        calls.write(json.dumps({"texts": texts, "pid": os.getpid()}) + "\n")
    if set(texts) & set(orders.get("die", ())):
        os._exit(STATUS)
    if set(texts) & set(orders.get("hang", ())):
        threading.Event().wait()
    if orders.get("down"):
        raise OrderedFailureError("told to be down")
    if failing := set(texts) & set(orders.get("fail", ())):
        raise OrderedFailureError(f"told to fail at {sorted(map(str, failing))}")
    lines = "".join(
        json.dumps(
            {
                "id": effect.id,
                "tenant": effect.tenant,
                "conversation": effect.conversation,
                "seq": effect.seq,
                "text": text,
                "direct": effect.direct,
                "type": type(effect.row).__name__,
                "pid": os.getpid(),
            }
        )
        + "\n"
        for effect, text in zip(effects, texts, strict=True)
    )
    # One write: a kill leaves all of it or nothing.
    descriptor = os.open(directory / "handed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, lines.encode())
    finally:
        os.close(descriptor)


async def take_async(effects: Sequence[Effect]) -> None:
    """The same as a coroutine."""
    take(effects)


def _orders(directory: Path) -> dict[str, Any]:
    try:
        orders: dict[str, Any] = json.loads((directory / "orders").read_text())
    except FileNotFoundError:
        return {}
    return orders


@dataclass(frozen=True)
class Handed:
    """One effect as the consumer got it."""

    id: str
    tenant: str
    conversation: str
    seq: int
    text: str | None
    direct: list[str]
    type: str
    pid: int


class Notes:
    """The test's side: what was handed over, and orders."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.directory = directory

    def environment(self) -> dict[str, str]:
        """What the server has to be started with."""
        return {"CONSUMER_DIRECTORY": str(self.directory), "PYTHONPATH": str(ROOT)}

    def order(self, **orders: Any) -> None:
        """Changes how the consumer behaves from its next call on."""
        part = self.directory / "orders.part"
        part.write_text(json.dumps(orders))
        part.rename(self.directory / "orders")

    @property
    def handed(self) -> list[Handed]:
        """Everything that was handed over, in that order."""
        return [Handed(**json.loads(line)) for line in self._lines("handed")]

    @property
    def texts(self) -> list[str | None]:
        """What the messages handed over say."""
        return [one.text for one in self.handed if one.type == "Message"]

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Every call, with what it was for."""
        return [json.loads(line) for line in self._lines("calls")]

    async def wait_texts(self, *texts: str, timeout: float = 15.0) -> None:
        """Waits until all of these were handed over."""
        await until(lambda: set(texts) <= set(self.texts), f"{texts} handed over", timeout=timeout)

    def _lines(self, name: str) -> list[str]:
        try:
            return (self.directory / name).read_text().splitlines()
        except FileNotFoundError:
            return []

    @staticmethod
    def pid(server: Server) -> int:
        """The consumer's process that was started last."""
        return int(server.lines("consumer_started")[-1]["pid"])
