"""One node: workers as the supervisor starts and kills them, each with the product's own tick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imfast.partition.owner as owner_module
from imfast._core.sequencer import Sequencer
from imfast.config.schema import Settings
from imfast.gateway.admission import Admission
from imfast.gateway.authenticate import Identity
from imfast.gateway.verbs import Verbs
from imfast.worker.options import engine_options
from imfast.worker.tick import Tick
from tests.simulation.native import faulty_sequencer_module
from tests.simulation.plan import TENANT, Layout

__all__ = ["REOPEN_MS", "Worker", "WorkerFaultError", "use_sequencer"]

REOPEN_MS = 1_000
"""As `REOPEN_DELAY_S` of imfast.worker.lifecycle."""

DEDUPE_WINDOW_MS = 24 * 3_600_000
OPTIONS: dict[str, Any] = {
    "dedupe_window_ms": DEDUPE_WINDOW_MS,
    "body_bytes_max": 4_096,
    "frame_bytes_max": 8_192,
    "connections_max": 1_000,
    # A slice ends after one group: the clock does not move within a tick.
    "fan_out_slice_us": 0,
}
"""What differs from the product's defaults in every run; `Layout.options` has the rest."""


class WorkerFaultError(Exception):
    """A worker's own code raised: the process would end."""


def use_sequencer(*, faulty: bool) -> None:
    """Partitions number with the product's sequencer, or with the one that has faults in it."""
    faulted = faulty_sequencer_module().Sequencer if faulty else Sequencer
    owner_module.Sequencer = faulted


class NoFaults:
    """Stands for the worker's faults: one that the product would survive is found here."""

    def exception(self, kind: str, error: BaseException, **where: object) -> None:
        raise WorkerFaultError(f"{kind} {where}") from error

    def counted(self, totals: dict[str, int]) -> None:
        panics = {kind: total for kind, total in totals.items() if kind.endswith("panics")}
        if panics:
            raise WorkerFaultError(f"contained: {panics}")

    def append_failed(self, finished: Any) -> None:
        """Disks that fail are part of the plan."""


class TokenIsUser:
    """Stands for the authenticator: whoever says a name is that user."""

    def verify(self, token: str) -> Identity:
        known: dict[str, Any] = {"user": token, "tenant": TENANT, "expires_at_ms": 0}
        for name in Identity.__dataclass_fields__:
            known.setdefault(name, 0)
        return Identity(**known)


class Worker:
    """One process. After `end` it is gone, with all that it had not written."""

    def __init__(
        self,
        world: Any,
        layout: Layout,
        index: int,
        incarnation: int,
        lost: Callable[[Worker, int], None],
    ) -> None:
        """`lost` is told of a partition that must be opened again."""
        self.index = index
        self.partitions = [
            number for number in range(layout.partitions) if number % layout.workers == index
        ]
        settings = Settings.model_construct(connections_max=1_000)
        document = SimpleNamespace(
            settings=settings,
            layout=SimpleNamespace(
                partitions=layout.partitions, generation=1, hash_secret="5a" * 16
            ),
            index=index,
            workers=layout.workers,
            server=f"n1.w{index}",
            incarnation=incarnation,
            link_paths=[str(number) for number in range(layout.workers)],
        )
        options = {**engine_options(document), **OPTIONS, **layout.options}
        self.engine = world.engine(options)
        self.owners = {
            number: owner_module.PartitionOwner(
                self.engine,
                number,
                directory=Path(f"/{number}"),
                fsync=True,
                dedupe_entries=layout.dedupe_entries,
                dedupe_window_ms=DEDUPE_WINDOW_MS,
            )
            for number in self.partitions
        }
        self._lost = lost
        self._verbs = Verbs(self.engine, TokenIsUser())
        self._tick = Tick(
            self.engine,
            self.owners,
            self._verbs,
            Admission(self.engine, 0, 0),
            NoFaults(),
            self._partition_lost,
            0.0 if layout.one_request_a_tick else 3_600.0,
        )
        self.reopening: set[int] = set()
        self.writing: set[int] = set()
        self.paused = False
        self.tick_planned = False
        self.timer_ns = -1
        self.alive = True

    def open(self, number: int) -> None:
        """Opens a partition. OSError: the disk refuses; WorkerFaultError: what may not be."""
        try:
            self.owners[number].open(self.engine.beat)
        except OSError:
            raise
        except BaseException as error:
            raise WorkerFaultError(f"partition {number} does not open: {error!r}") from error

    def tick(self) -> None:
        """One turn of the event loop."""
        try:
            self._tick(self.engine.poll())
        except BaseException as error:
            raise WorkerFaultError(f"worker {self.index}: {error!r}") from error

    def _partition_lost(self, number: int) -> None:
        if number not in self.reopening:
            self.reopening.add(number)
            self._lost(self, number)

    def end(self) -> None:
        """The process is no more; its sockets close."""
        self.alive = False
        self.owners.clear()
        # It refers to itself, and would keep the engine and its sockets until the next collection.
        vars(self._verbs).clear()
        del self._verbs, self._tick, self.engine, self._lost
