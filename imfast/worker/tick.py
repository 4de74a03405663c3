"""The one hot loop of a worker: called whenever the engine has something for Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Final

from imfast._engine import Engine, Finished
from imfast.gateway.admission import Admission
from imfast.gateway.verbs import Verbs
from imfast.partition import PartitionOwner

__all__ = ["Tick"]

COMPLETIONS: Final = 1
REQUESTS: Final = 4
ARRIVALS: Final = 8
"""Bits of `Engine.poll`."""


class Tick:
    """Moves batches on. It sees batches and control verbs, never a hot message."""

    def __init__(
        self,
        engine: Engine,
        partitions: Mapping[int, PartitionOwner],
        verbs: Verbs,
        admission: Admission,
        lost: Callable[[Finished], None],
        control_slice_s: float,
    ) -> None:
        """`lost` is told of an append that failed; `control_slice_s` bounds control verbs a tick.

        Whatever Python does in that time is added to every hot message's latency.
        """
        self._engine = engine
        self._partitions = partitions
        self._verbs = verbs
        self._admission = admission
        self._lost = lost
        self._control_slice_s = control_slice_s

    def __call__(self, work: int) -> None:
        """Ends the tick whose poll found `work`; see `Ticker`, which calls this."""
        engine = self._engine
        if work & COMPLETIONS:
            for finished in engine.take_finished():
                self._partitions[finished.partition].finished(finished)
                if finished.failure is not None:
                    self._lost(finished)
        if work & ARRIVALS:
            self._admission.judge()
        if work & REQUESTS:
            deadline = perf_counter() + self._control_slice_s
            while (request := engine.take_request()) is not None:
                self._verbs.decide(request)
                if perf_counter() >= deadline:
                    break
        for partition in engine.wanting_batches():
            self._partitions[partition].step()
        engine.flush()
