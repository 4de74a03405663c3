"""Brings every partition's effects to the consumer, in order, and keeps how far that came.

A task a partition: page → call → position and letters in one transaction. Another task tries
letters again. Calls come one at a time.

**Order.** Within a conversation effects are handed over in the order of their numbers. One that
fails holds those behind it: they become letters too and follow when it was handled, or is dead.
Other conversations go on.

**Which one it was.** A call that fails is repeated with each effect alone. A process that ends
within a call leaves a note of what was handed over; the next one calls with each of these alone,
and the one in whose call the process ends again has failed.

**When everything fails.** Once `FAILING_MAX` effects have failed without a success between them,
whoever is behind the consumer is away: new effects are taken only every `PROBE_S`, until something
succeeds. While `waiting_max` letters wait, none is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from imfast.outbox.document import ConsumerDocument
from imfast.outbox.effect import Effect
from imfast.outbox.feed import Feed, FeedError, Page
from imfast.outbox.handler import Handler
from imfast.outbox.retries import Retries
from imfast.outbox.store import Letter, Store

__all__ = ["Reader"]

log = structlog.get_logger(__name__)

FAILING_MAX = 8
PROBE_S = 10.0
AWAY_S, AWAY_S_MAX = 0.05, 1.0
"""Between two questions to an owner that is away. It is started again within half a second."""

LETTERS_S = 0.5
"""Between two looks for due letters: others may have changed them."""

LETTERS_AT_ONCE = 64
DURABLE_S = 1.0
"""How far a power cut may take a position back; see the store."""

ENDED = "the consumer's process ended while it was handled"


@dataclass(slots=True)
class Given:
    """An effect with the bytes it came as."""

    effect: Effect
    line: bytes


class Reader:
    """One consumer's way through the log."""

    def __init__(self, document: ConsumerDocument, store: Store, handler: Handler) -> None:
        self._document = document
        self._store = store
        self._handler = handler
        self._retries = Retries(
            backoff_s=document.backoff_s,
            backoff_max_s=document.backoff_max_s,
            attempts_max=document.attempts_max,
            expiry_s=document.expiry_s,
        )
        self._turn = asyncio.Lock()
        self._failing: set[str] = set()
        """What failed since something succeeded."""
        self._positions: dict[int, int] = {}
        self._durable: dict[int, int] = {}
        self._suspects: set[str] = set()
        self._blamed: set[str] = set()

    async def run(self) -> None:
        """Reads until it is cancelled. A call that was begun is finished, and noted."""
        self._recover()
        async with asyncio.TaskGroup() as tasks:
            for partition, path in enumerate(self._document.feeds):
                tasks.create_task(self._follow(partition, path))
            tasks.create_task(self._try_letters())
            tasks.create_task(self._keep_durable())

    def _recover(self) -> None:
        store, generation = self._store, self._document.generation
        if store.fact("generation") not in (None, generation):
            log.warning("positions_of_another_layout")
            store.clear_positions()
        store.set_fact("generation", generation)
        self._positions = store.positions()
        left = store.left_calling()
        if len(left) == 1:
            self._blamed = set(left)
        self._suspects = set(left)
        for blamed in self._blamed:
            letter = store.letter(blamed)
            if letter is not None:
                store.failed(self._retries.after_failure(letter, ENDED, _now_ms()))
        if left:
            log.warning("consumer_ended_in_a_call", effects=len(left))

    # New effects

    async def _follow(self, partition: int, path: str) -> None:
        feed = Feed(path, self._document.name, partition)
        away_s = AWAY_S
        try:
            while True:
                await self._room()
                after = self._positions.get(partition)
                try:
                    page = await feed.page(after, self._durable.get(partition, 0))
                except FeedError as error:
                    log.debug("owner_away", partition=partition, reason=str(error))
                    await asyncio.sleep(away_s)
                    away_s = min(AWAY_S_MAX, 2 * away_s)
                    continue
                away_s = AWAY_S
                await self._take(partition, after, page)
        finally:
            feed.close()

    async def _room(self) -> None:
        """Waits while nothing more may be taken."""
        loop = asyncio.get_running_loop()
        probe = loop.time() + PROBE_S
        while waiting := self._store.count()[0]:
            may_succeed = not self._is_down or loop.time() >= probe
            if waiting < self._document.waiting_max and may_succeed:
                return
            await asyncio.sleep(LETTERS_S)

    @property
    def _is_down(self) -> bool:
        return len(self._failing) >= FAILING_MAX

    async def _take(self, partition: int, after: int | None, page: Page) -> None:
        if after is None or page.through < after:
            if after is not None:
                log.warning("log_lost_its_end", partition=partition, to=page.through, was=after)
            self._moved(partition, page.through)
            self._store.set_position(partition, page.through)
            return
        given = [Given(Effect.read(line), line) for line in page.lines]
        size = self._document.batch_effects
        for start in range(0, len(given), size):
            batch = given[start : start + size]
            if start:
                await self._room()
            through = page.through if start + size >= len(given) else batch[-1].effect.index
            await _whole(self._handle(partition, through, batch))
        if not given and page.through > after:
            self._moved(partition, page.through)
            self._store.set_position(partition, page.through)

    async def _handle(self, partition: int, through: int, batch: Sequence[Given]) -> None:
        async with self._turn:
            held: dict[str, bool] = {}
            for one in batch:
                scope = one.effect.scope
                if scope not in held:
                    held[scope] = self._store.is_held(partition, scope)
            free = [one for one in batch if not held[one.effect.scope]]
            error = await self._call_at_once(free)
            if error is None:
                letters = [_letter(one) for one in batch if held[one.effect.scope]]
                self._finish(partition, through, letters)
            else:
                called = len(free) == 1 and free[0].effect.id not in self._suspects
                alone = {free[0].effect.id: error} if called else {}
                await self._one_by_one(partition, through, batch, held, alone)

    def _moved(self, partition: int, position: int) -> None:
        self._positions[partition] = position
        # Where the log lost its end.
        self._durable[partition] = min(self._durable.get(partition, 0), position)

    def _finish(self, partition: int, position: int, letters: Sequence[Letter]) -> None:
        self._store.finish(partition, position, letters)
        self._moved(partition, position)

    async def _call_at_once(self, batch: Sequence[Given]) -> str | None:
        """Hands all of them over; returns how that failed, or why it was not tried."""
        if any(one.effect.id in self._suspects for one in batch):
            return ENDED
        return await self._call(batch) if batch else None

    async def _one_by_one(
        self,
        partition: int,
        through: int,
        batch: Sequence[Given],
        held: dict[str, bool],
        failed: Mapping[str, str],
    ) -> None:
        """Hands effects over each alone, and keeps each outcome: the process may end at any of
        them, and then has come further than the one before it.

        Args:
            partition: theirs.
            through: what the last of them reaches.
            batch: by position.
            held: whether effects of a conversation wait for an earlier one.
            failed: those that have just been handed over alone.
        """
        for one in batch:
            effect = one.effect
            letter: Letter | None = None
            if held[effect.scope] or self._is_down:
                letter = _letter(one)
            else:
                error = failed.get(effect.id)
                if error is None:
                    blamed = effect.id in self._blamed
                    error = ENDED if blamed else await self._call([one])
                if error is not None:
                    letter = self._retries.after_failure(_letter(one), error, _now_ms())
                    _tell_dead(letter)
            if letter is not None and not letter.dead:
                held[effect.scope] = True
            position = through if one is batch[-1] else effect.index
            self._finish(partition, position, [letter] if letter else [])
            self._suspects.discard(effect.id)
            self._blamed.discard(effect.id)

    async def _call(self, batch: Sequence[Given]) -> str | None:
        effects = [one.effect for one in batch]
        self._store.calling(effect.id for effect in effects)
        error = await self._handler.call(effects)
        if error is None:
            self._failing.clear()
        elif len(effects) == 1:
            self._failing.add(effects[0].id)
        return error

    # Letters

    async def _try_letters(self) -> None:
        while True:
            letters = self._store.due(_now_ms(), LETTERS_AT_ONCE)
            for letter in letters:
                await _whole(self._try(letter))
            if not letters:
                await asyncio.sleep(min(LETTERS_S, self._document.backoff_s))

    async def _try(self, letter: Letter) -> None:
        async with self._turn:
            present = self._store.letter(letter.id)
            if present is None or present.dead:  # somebody has dropped it meanwhile
                return
            error = await self._call([Given(Effect.read(present.effect), present.effect)])
            if error is None:
                self._store.handled(present.id)
                return
            failed = self._retries.after_failure(present, error, _now_ms())
            self._store.failed(failed)
            _tell_dead(failed)

    async def _keep_durable(self) -> None:
        while True:
            await asyncio.sleep(DURABLE_S)
            positions = dict(self._positions)
            if positions != self._durable:
                self._store.make_durable()
                self._durable = positions


def _tell_dead(letter: Letter) -> None:
    if letter.dead:
        log.error("dead_letter", id=letter.id, attempts=letter.attempts, error=letter.error)


def _letter(one: Given) -> Letter:
    now_ms = _now_ms()
    return Letter(
        id=one.effect.id,
        partition=one.effect.partition,
        position=one.effect.index,
        conversation=one.effect.scope,
        effect=one.line,
        dead=False,
        attempts=0,
        since_ms=now_ms,
        due_ms=now_ms,
        error="",
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _whole(step: Coroutine[None, None, None]) -> None:
    """Finishes what was begun, also when this task is cancelled meanwhile; then is cancelled."""
    task = asyncio.create_task(step)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(Exception):
            await task
        raise
