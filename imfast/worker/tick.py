"""The one hot loop of a worker: called whenever the engine has something for Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter, perf_counter_ns
from typing import Final

from imfast._engine import Engine, Finished, Request
from imfast.codes import Code
from imfast.gateway.admission import Admission
from imfast.gateway.verbs import Verbs
from imfast.observe.recent import Recent
from imfast.partition import PartitionOwner
from imfast.worker.faults import Faults

__all__ = ["Tick"]

COMPLETIONS: Final = 1
REQUESTS: Final = 4
ARRIVALS: Final = 8
FAULTS: Final = 16
LENGTHS: Final = 32
ACTED: Final = 64
"""Bits of `Engine.poll`."""


class Tick:
    """Moves batches on. It sees batches and control verbs, never a hot message."""

    def __init__(
        self,
        engine: Engine,
        partitions: Mapping[int, PartitionOwner],
        verbs: Verbs,
        admission: Admission,
        faults: Faults,
        lost: Callable[[int], None],
        control_slice_s: float,
    ) -> None:
        """Prepares.

        Args:
            engine: what is driven.
            partitions: those of this worker, by number.
            verbs: decides about control verbs.
            admission: judges the addresses of new connections.
            faults: is told of what went wrong.
            lost: gets the number of a partition that takes nothing until it is opened again.
            control_slice_s: bounds control verbs a tick. Whatever Python does in that time is
                added to every hot message's latency.
        """
        self._engine = engine
        self._partitions = partitions
        self._verbs = verbs
        self._admission = admission
        self._faults = faults
        self._lost = lost
        self._control_slice_s = control_slice_s
        self._commits = Recent()
        self._ticks = Recent()

    def __call__(self, work: int) -> None:
        """Ends the tick whose poll found `work`; see `Ticker`, which calls this."""
        engine = self._engine
        if work & COMPLETIONS:
            for finished in engine.take_finished():
                self._finished(finished)
        if work & ARRIVALS:
            self._admission.judge()
        if work & ACTED:
            self._verbs.settle()
        if work & REQUESTS:
            deadline = perf_counter() + self._control_slice_s
            while (request := engine.take_request()) is not None:
                self._decide(request)
                if perf_counter() >= deadline:
                    break
        for partition in engine.wanting_batches():
            try:
                self._partitions[partition].step()
            except Exception as error:
                self._abandon(partition, error)
        if work & FAULTS:
            self._faults.counted(engine.take_faults())
        if work & LENGTHS:
            self._ticks.record_all(engine.take_tick_ns())
        engine.flush()

    def latencies(self) -> dict[str, dict[str, float]]:
        """How long commits and ticks took of late."""
        self._ticks.record_all(self._engine.take_tick_ns())
        return {"commit": self._commits.summary(), "tick": self._ticks.summary()}

    def _finished(self, finished: Finished) -> None:
        partition = finished.partition
        owner = self._partitions[partition]
        self._commits.record(perf_counter_ns() - owner.appended_ns)
        try:
            owner.finished(finished)
        except Exception as error:
            self._abandon(partition, error)
            return
        if finished.failure is not None:
            self._faults.append_failed(finished)
            if finished.lost:
                self._lost(partition)

    def _decide(self, request: Request) -> None:
        try:
            self._verbs.decide(request)
        except Exception as error:
            # It touched this request alone: whatever the engine holds is changed by its own calls.
            self._faults.exception("request_exceptions", error, verb=request.verb)
            self._engine.refuse(request.connection, Code.INTERNAL)

    def _abandon(self, partition: int, error: Exception) -> None:
        """Closes a partition whose state is in doubt: the log has what counts."""
        self._faults.exception("partition_exceptions", error, partition=partition)
        self._engine.abandon(partition)
        self._lost(partition)
