"""The sequencer against a plain model: batches, duplicates, rollbacks, eviction, replay."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imfast._core.sequencer import Sequencer
from imfast._core.snowflake import Snowflake

RECORD = struct.Struct("<QQQIBBHQQQQ")
MESSAGE, EVENT, UNNUMBERED = 0, 1, 2
ALLOWED, FORBIDDEN, NEW, DUPLICATE, CONFLICT, REFUSED, ACCEPTED = range(7)
START_MS = 1_763_899_999_000
PARTITION = 7


@dataclass(frozen=True)
class Command:
    conversation: int
    key: int = 0
    payload: int = 0
    kind: int = MESSAGE
    verdict: int = ALLOWED
    message_id: int = 0
    made_ms: int = 0
    """What the key says of its time."""


@dataclass(frozen=True)
class Result:
    verdict: int
    seq: int = 0
    message_id: int = 0
    position: int = 0
    time_ms: int = 0

    @property
    def accepted(self) -> bool:
        return self.verdict in (NEW, ACCEPTED)


def pack(commands: list[Command], time_ms: int) -> bytearray:
    """The commands as a batch; two keys differ in the high half only or in the low half only."""
    batch = bytearray()
    for command in commands:
        high, low = (command.key, 0) if command.key % 2 else (0, command.key)
        batch += RECORD.pack(
            high, low, command.payload, command.conversation, command.kind, command.verdict, 0,
            command.made_ms, command.message_id, 0, time_ms,
        )  # fmt: skip
    return batch


def unpack(batch: bytearray) -> list[Result]:
    return [
        Result(record[5], record[7], record[8], record[9], record[10])
        for record in RECORD.iter_unpack(batch)
    ]


def fold(sequencer: Sequencer, commands: list[Command], time_ms: int) -> list[Result]:
    batch = pack(commands, time_ms)
    accepted = sequencer.fold(batch, len(commands), time_ms)
    results = unpack(batch)
    assert accepted == sum(result.accepted for result in results)
    return results


@dataclass
class Model:
    """What the sequencer promises, in dictionaries, copied whole for a batch that may fail."""

    entries: int
    window_ms: int
    heads: dict[int, int] = field(default_factory=dict)
    keys: dict[int, tuple[int, Result]] = field(default_factory=dict)
    position: int = 0
    message_id: int = 0

    def copy(self) -> Model:
        heads, keys = dict(self.heads), dict(self.keys)
        return replace(self, heads=heads, keys=keys)

    def next_id(self, time_ms: int) -> int:
        first = (time_ms - 1_704_067_200_000) << 22 | PARTITION << 12
        if first > self.message_id:
            return first
        if self.message_id & 4095 < 4095:
            return self.message_id + 1
        return (self.message_id >> 22) + 1 << 22 | PARTITION << 12

    def one(self, command: Command, time_ms: int) -> Result:
        if command.key in self.keys:
            payload, first = self.keys[command.key]
            if payload != command.payload:
                return Result(CONFLICT, time_ms=time_ms)
            return Result(DUPLICATE, first.seq, first.message_id, first.position, first.time_ms)
        if command.verdict == FORBIDDEN:
            return Result(REFUSED, time_ms=time_ms)
        self.position += 1
        if command.kind == UNNUMBERED:
            result = Result(ACCEPTED, 0, 0, self.position, time_ms)
        else:
            seq = self.heads[command.conversation] = self.heads.get(command.conversation, 0) + 1
            message_id = command.message_id or self.next_id(time_ms)
            self.message_id = max(self.message_id, message_id)
            result = Result(NEW, seq, message_id, self.position, time_ms)
        if command.key:
            self.keys[command.key] = command.payload, result
        return result

    def fold(self, commands: list[Command], time_ms: int) -> list[Result]:
        return [self.one(command, time_ms) for command in commands]

    def evict(self, time_ms: int) -> None:
        for key, (_, result) in list(self.keys.items()):
            if len(self.keys) <= self.entries and time_ms - result.time_ms <= self.window_ms:
                return
            del self.keys[key]

    def assert_equals(self, sequencer: Sequencer, conversations: int) -> None:
        oldest = next(iter(self.keys.values()), None)
        assert sequencer.last_position == self.position
        assert sequencer.last_message_id == self.message_id
        assert sequencer.dedupe_len == len(self.keys)
        assert sequencer.oldest_key_ms == (oldest[1].time_ms if oldest else 0)
        assert [sequencer.head(index) for index in range(conversations)] == [
            self.heads.get(index, 0) for index in range(conversations)
        ]


CONVERSATIONS = 5

commands = st.builds(
    Command,
    conversation=st.integers(0, CONVERSATIONS - 1),
    key=st.integers(0, 12),
    payload=st.integers(0, 1),
    kind=st.sampled_from([MESSAGE, MESSAGE, EVENT, UNNUMBERED]),
    verdict=st.sampled_from([ALLOWED, ALLOWED, ALLOWED, FORBIDDEN]),
    made_ms=st.sampled_from([0, *(START_MS + step for step in (-9, 3, 50, 200, 6_000))]),
)
batches = st.tuples(
    st.lists(commands, max_size=12),
    st.integers(-3, 40),  # clock step in ms, sometimes backwards
    st.booleans(),  # committed
)


@given(
    st.lists(batches, max_size=20),
    st.integers(1, 8),
    st.one_of(st.just(1 << 20), st.integers(0, 60)),
)
@example(
    [([Command(0, 1)], 0, True), ([Command(0, 1)], 9, True), ([Command(0, 1)], -3, True)], 8, 5
)
def test_sequencer_folds_like_the_model_and_replays_to_the_same(
    steps: list[tuple[list[Command], int, bool]], entries: int, window_ms: int
) -> None:
    sequencer = Sequencer(PARTITION, entries, window_ms)
    model = Model(entries, window_ms)
    log: list[tuple[int, list[Command], list[Result]]] = []
    now_ms = START_MS

    for batch, step_ms, committed in steps:
        now_ms += step_ms
        next_model = model.copy()
        results = fold(sequencer, batch, now_ms)
        assert results == next_model.fold(batch, now_ms)
        model.assert_equals(sequencer, CONVERSATIONS)  # reads show committed state only
        if committed:
            sequencer.commit()
            accepted = [i for i, result in enumerate(results) if result.accepted]
            if accepted:
                next_model.evict(now_ms)
                log.append((now_ms, [batch[i] for i in accepted], [results[i] for i in accepted]))
            model = next_model
        else:
            sequencer.rollback()
        model.assert_equals(sequencer, CONVERSATIONS)

    replayed = Sequencer(PARTITION, entries, window_ms)
    for time_ms, batch, results in log:
        logged = [
            replace(c, verdict=ALLOWED, message_id=result.message_id)
            for c, result in zip(batch, results, strict=True)
        ]
        assert fold(replayed, logged, time_ms) == results
        replayed.commit()
    model.assert_equals(replayed, CONVERSATIONS)


@pytest.mark.parametrize("entries", [3_000, 9_000, 200_000])
def test_large_window_keeps_exact_keys_over_growth_eviction_and_rollback(entries: int) -> None:
    """Enough keys to grow the map and the ring of chunks, and to empty chunks again."""
    chance = random.Random(entries)
    sequencer, model = Sequencer(PARTITION, entries, 1 << 20), Model(entries, 1 << 20)
    for step in range(30):
        now_ms = START_MS + step
        batch = [
            Command(chance.randrange(2_000), chance.randrange(1, 40_000), chance.randrange(8) // 7)
            for _ in range(chance.choice([1, 100, 4_096, 5_000]))
        ]
        next_model = model.copy()
        assert fold(sequencer, batch, now_ms) == next_model.fold(batch, now_ms)
        if chance.random() < 0.25:
            sequencer.rollback()
        else:
            sequencer.commit()
            next_model.evict(now_ms)
            model = next_model
        model.assert_equals(sequencer, 2_000)


def test_duplicate_in_the_same_batch_gets_the_first_result() -> None:
    sequencer = Sequencer(PARTITION, 10, 1_000)
    first, again, other = fold(
        sequencer, [Command(0, 1, 5), Command(0, 1, 5), Command(0, 1, 6)], START_MS
    )
    assert (first.verdict, again.verdict, other.verdict) == (NEW, DUPLICATE, CONFLICT)
    assert (again.seq, again.message_id, again.position) == (1, first.message_id, 1)


def test_refused_sender_retrying_an_accepted_key_gets_its_first_result() -> None:
    sequencer = Sequencer(PARTITION, 10, 1_000)
    fold(sequencer, [Command(3, 1)], START_MS)
    sequencer.commit()
    retry, fresh = fold(
        sequencer,
        [Command(3, 1, verdict=FORBIDDEN), Command(3, 2, verdict=FORBIDDEN)],
        START_MS + 5,
    )
    assert (retry.verdict, retry.seq, retry.time_ms) == (DUPLICATE, 1, START_MS)
    assert (fresh.verdict, fresh.seq, fresh.position) == (REFUSED, 0, 0)


def test_batch_of_retries_evicts_nothing_because_it_is_not_logged() -> None:
    sequencer = Sequencer(PARTITION, 10, 100)
    fold(sequencer, [Command(0, 1)], START_MS)
    sequencer.commit()
    for _ in range(2):
        (retry,) = fold(sequencer, [Command(0, 1)], START_MS + 1_000)
        assert retry.verdict == DUPLICATE
        sequencer.commit()


def test_keys_that_nobody_else_has_yet_are_not_forgotten() -> None:
    sequencer = Sequencer(PARTITION, 2, 100)
    for key in range(1, 7):
        fold(sequencer, [Command(0, key)], START_MS)
        sequencer.commit(3 if key < 6 else 5)
        assert sequencer.oldest_key_position == {3: 2, 4: 3, 5: 4, 6: 5}.get(key, 1)
    fold(sequencer, [Command(0, 7)], START_MS + 1_000)
    sequencer.commit(5)
    assert sequencer.oldest_key_position == 6, "too old, and the only one who knows it"


def test_given_id_pushes_the_next_one_above_it() -> None:
    sequencer = Sequencer(PARTITION, 10, 100)
    given_id = Snowflake(PARTITION).next(START_MS + 50) + 4_095  # its millisecond is full
    fold(sequencer, [Command(0, message_id=given_id)], START_MS)
    sequencer.commit()
    (result,) = fold(sequencer, [Command(0)], START_MS)
    assert result.message_id == Snowflake(PARTITION).next(START_MS + 51)


def test_fold_while_a_batch_is_in_flight_is_refused() -> None:
    sequencer = Sequencer(PARTITION, 10, 100)
    fold(sequencer, [Command(0)], START_MS)
    assert sequencer.in_flight
    with pytest.raises(RuntimeError, match="in flight"):
        fold(sequencer, [Command(0)], START_MS)
    sequencer.rollback()
    for end in (sequencer.commit, sequencer.rollback):
        with pytest.raises(RuntimeError, match="no batch"):
            end()


@pytest.mark.parametrize(
    "command",
    [Command(0, kind=3), Command(0, verdict=NEW), Command(0, message_id=1 << 63)],
    ids=["kind", "verdict", "id"],
)
def test_malformed_record_refuses_the_whole_batch(command: Command) -> None:
    sequencer = Sequencer(PARTITION, 10, 100)
    with pytest.raises(ValueError, match="a record has"):
        fold(sequencer, [Command(0, 1), command], START_MS)
    assert not sequencer.in_flight
    (result,) = fold(sequencer, [Command(0, 1)], START_MS)
    assert (result.verdict, result.seq, result.position) == (NEW, 1, 1)


def test_unusable_buffers_and_times_are_refused() -> None:
    sequencer = Sequencer(PARTITION, 10, 100)
    batch = pack([Command(0)], START_MS)
    with pytest.raises(ValueError, match="fewer than 2"):
        sequencer.fold(batch, 2, START_MS)
    with pytest.raises(ValueError, match="aligned"):
        sequencer.fold(memoryview(bytearray(72))[1:], 1, START_MS)
    with pytest.raises(BufferError):
        sequencer.fold(bytes(batch), 1, START_MS)
    with pytest.raises(ValueError, match="does not fit"):
        sequencer.fold(batch, 1, 1 << 62)
    assert not sequencer.in_flight


@pytest.mark.parametrize("settings", [(1_024, 1, 1), (0, 0, 1), (0, 1 << 31, 1), (0, 1, 1 << 40)])
def test_settings_out_of_range_are_refused(settings: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"partition|dedupe"):
        Sequencer(*settings)


def test_memory_follows_the_window_and_shrinks_with_it() -> None:
    sequencer = Sequencer(PARTITION, 100_000, 1_000)
    empty = sequencer.memory_bytes
    fold(sequencer, [Command(0, key) for key in range(1, 50_001)], START_MS)
    sequencer.commit()
    full = sequencer.memory_bytes
    fold(sequencer, [Command(0, 60_000)], START_MS + 5_000)
    sequencer.commit()
    assert sequencer.dedupe_len == 1
    assert full - empty >= 50_000 * 64
    assert sequencer.memory_bytes - empty < 50_000 * 4 + 3 * 4_096 * 64
