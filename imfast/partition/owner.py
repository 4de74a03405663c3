"""One partition that this worker owns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

from imfast._core.sequencer import Sequencer
from imfast._engine import Engine, Finished

__all__ = ["PartitionOwner"]

BATCHES_PER_BEAT = 256
"""Replayed batches between two signs of life; a batch takes well under a millisecond."""


class PartitionOwner:
    """Joins the engine's half of a partition with its sequencer."""

    def __init__(
        self,
        engine: Engine,
        number: int,
        *,
        directory: Path,
        fsync: bool,
        dedupe_entries: int,
        dedupe_window_ms: int,
    ) -> None:
        """`directory` is the partition's own; `fsync` is what an ack waits for."""
        self.number = number
        self.epoch = 0
        self.archive_put_aside: str | None = None
        """Why the last opening found its archive of no use and folds the whole log, if it does."""
        self.appended_ns = 0
        """When the batch in flight was given to the log, by `perf_counter_ns`."""
        self.opened_at = 0
        """The last position when it was opened."""
        self.waiting: set[asyncio.Future[None]] = set()
        """Done when something was committed: those who read the outbox."""
        self._engine = engine
        self._directory = directory
        self._fsync = fsync
        self._dedupe_entries = dedupe_entries
        self._dedupe_window_ms = dedupe_window_ms
        self._sequencer: Sequencer
        self._archived = 0
        """Keys up to this position may be forgotten: the archive has them."""
        self._records = engine.records(number)

    def open(self, beat: Callable[[], None]) -> int:
        """Restores what the archive has and folds the log behind it; returns how many commands.

        Raises:
            DataDamagedError: the log is damaged where it may not be cut.
            DataFormatError: it is a newer version's, or another layout's.
            OSError: another process holds it, or the disk refuses.
        """
        engine, number = self._engine, self.number
        opened = engine.open_partition(number, self._directory, self._fsync)
        self.epoch, self.opened_at, self.archive_put_aside = opened
        sequencer = self._sequencer = Sequencer(
            number, self._dedupe_entries, self._dedupe_window_ms
        )
        position, message_id, heads, keys, archived = engine.restored(number)
        sequencer.restore(position, message_id, heads, keys)
        batches = commands = 0
        while (batch := engine.replay_next(number)) is not None:
            time_ms, count = batch
            sequencer.fold(self._records, count, time_ms)
            sequencer.commit(archived)
            archived = engine.replay_commit(number, sequencer.oldest_key_position)
            commands += count
            batches += 1
            if batches % BATCHES_PER_BEAT == 0:
                beat()
        self._archived = archived
        return commands

    def step(self) -> None:
        """Begins the next batch and hands it to the log, or answers it where nothing is logged."""
        engine, number = self._engine, self.number
        batch = engine.begin(number)
        if batch is None:
            return
        time_ms, count = batch
        self._sequencer.fold(self._records, count, time_ms)
        self.appended_ns = perf_counter_ns()
        if not engine.append(number):
            # Only repeats and refusals: nothing to wait for.
            self._deliver()

    def finished(self, finished: Finished) -> None:
        """The log answered: the batch counts, or it never happened."""
        if finished.failure is None:
            self._deliver()
        else:
            self._sequencer.rollback()
            self._engine.fail(self.number)

    def _deliver(self) -> None:
        sequencer = self._sequencer
        sequencer.commit(self._archived)
        self._archived = self._engine.deliver(self.number, sequencer.oldest_key_position)
        if self.waiting:
            self._wake()

    def _wake(self) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_result(None)
        self.waiting.clear()
