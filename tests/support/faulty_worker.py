"""A worker whose code does wrong in the middle of a tick, when a file says so.

The file ``$TEST_FAULTS/<server>`` holds one order and is removed when it is obeyed:

- ``exception``: Python code of the tick raises.
- ``request``: Python code that decides about the next control verb raises.
- ``panic``: the engine panics in one of its calls.
- ``fold P``: the numbers of partition P's next batch are wrong.
- ``step P``: Python code of partition P's next batch raises.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from imfast._engine import Engine, Ticker
from imfast.config.worker_document import WorkerDocument
from imfast.gateway.verbs import Verbs
from imfast.partition import PartitionOwner
from imfast.worker import __main__ as worker
from imfast.worker import lifecycle
from imfast.worker.tick import Tick

TEXT = "a text that no report may contain"


class Wrong:
    """What a partition has in the place of its sequencer, for one batch."""

    def __init__(self, owner: PartitionOwner, *, raises: bool) -> None:
        self._owner: Any = owner
        self._right = self._owner._sequencer
        self._raises = raises
        self._owner._sequencer = self

    def fold(self, records: Any, count: int, time_ms: int) -> None:
        self._owner._sequencer = self._right
        if self._raises:
            raise ValueError(TEXT)
        self._right.fold(records, count, time_ms)
        with memoryview(records).cast("B") as view:
            view[32] ^= 0xFF  # the sequence number of the first record


def obey(tick: Any, order: str) -> None:
    """Does what the order says."""
    what, _, number = order.partition(" ")
    if what == "exception":
        raise ValueError(TEXT)
    if what == "panic":
        tick._engine.replay_next(60_000)  # there is no such partition
    if what == "request":
        decide = Verbs.decide

        def fail(_verbs: Verbs, _request: object) -> None:
            Verbs.decide = decide  # type: ignore[method-assign]
            raise ValueError(TEXT)

        Verbs.decide = fail  # type: ignore[method-assign,assignment]
    if what in ("fold", "step"):
        Wrong(tick._partitions[int(number)], raises=what == "step")


def main() -> NoReturn:
    """Serves as a worker does, and looks for an order before each tick."""
    run_worker = worker.run_worker

    def run(document: WorkerDocument) -> int:
        orders = Path(os.environ["TEST_FAULTS"]) / document.server

        def ticker(engine: Engine, work: Tick) -> Callable[[], None]:
            tick = Ticker(engine, work)

            def look_and_tick() -> None:
                if orders.exists():
                    order = orders.read_text()
                    orders.unlink()
                    obey(work, order)
                tick()

            return look_and_tick

        # Every tick, also one without work for Python.
        lifecycle.Ticker = ticker  # type: ignore[assignment,misc]
        return run_worker(document)

    worker.run_worker = run  # a spare knows its name only now
    worker.be_zygote(int(sys.argv[1]), int(sys.argv[2]))


main()
