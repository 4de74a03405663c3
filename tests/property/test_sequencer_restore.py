"""A restored sequencer against one that folded everything: numbers, known keys, eviction."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imfast._core.sequencer import Sequencer
from tests.property.test_sequencer import (
    CONVERSATIONS,
    DUPLICATE,
    NEW,
    PARTITION,
    START_MS,
    Command,
    Result,
    batches,
    fold,
)

KEY = struct.Struct("<QQQQQQQQ")


def archived(command: Command, result: Result) -> bytes:
    """The key of an accepted command, as archives hold it."""
    high, low = (command.key, 0) if command.key % 2 else (0, command.key)
    return KEY.pack(
        high,
        low,
        command.payload,
        result.seq,
        result.message_id,
        result.position,
        result.time_ms,
        command.made_ms,
    )


def restored(sequencer: Sequencer, keys: list[bytes]) -> Sequencer:
    """A fresh sequencer with what an archive of `sequencer`'s committed batches would give."""
    oldest = sequencer.oldest_key_position
    window = [key for key in keys if KEY.unpack(key)[5] >= oldest]
    heads = struct.pack(f"<{CONVERSATIONS}Q", *map(sequencer.head, range(CONVERSATIONS)))
    other = Sequencer(PARTITION, sequencer.dedupe_entries, sequencer.dedupe_window_ms)
    other.restore(
        sequencer.last_position,
        sequencer.last_message_id,
        heads,
        b"".join(window),
    )
    return other


def state(sequencer: Sequencer) -> list[int]:
    return [
        sequencer.last_position,
        sequencer.last_message_id,
        sequencer.dedupe_len,
        sequencer.oldest_key_ms,
        sequencer.oldest_key_position,
        *map(sequencer.head, range(CONVERSATIONS)),
    ]


@given(
    st.lists(batches, min_size=1, max_size=24),
    st.sets(st.integers(0, 24)),
    st.integers(1, 8),
    st.one_of(st.just(1 << 20), st.integers(0, 60)),
)
def test_sequencer_restored_anywhere_goes_on_like_one_that_folded_everything(
    steps: list[tuple[list[Command], int, bool]], cuts: set[int], entries: int, window_ms: int
) -> None:
    whole = Sequencer(PARTITION, entries, window_ms)
    cut = Sequencer(PARTITION, entries, window_ms)
    keys: list[bytes] = []
    now_ms = START_MS
    for number, (batch, step_ms, committed) in enumerate(steps):
        if number in cuts:
            cut = restored(cut, keys)
            assert state(cut) == state(whole)
        now_ms += step_ms
        results = fold(whole, batch, now_ms)
        assert fold(cut, batch, now_ms) == results
        assert state(cut) == state(whole)  # the batch in flight is not seen
        for sequencer in (whole, cut):
            if committed:
                sequencer.commit()
            else:
                sequencer.rollback()
        assert state(cut) == state(whole)
        if committed:
            pairs = zip(batch, results, strict=True)
            keys += [archived(c, r) for c, r in pairs if r.accepted and c.key]


def test_large_window_is_restored_with_every_key_and_evicted_in_its_order() -> None:
    whole = Sequencer(PARTITION, 20_000, 1 << 20)
    keys = []
    for step in range(5):
        commands = [Command(n % CONVERSATIONS, step * 5_000 + n + 1) for n in range(5_000)]
        results = fold(whole, commands, START_MS + step)
        whole.commit()
        keys += [archived(c, r) for c, r in zip(commands, results, strict=True)]
    again = restored(whole, keys)
    assert again.oldest_key_position == 5_001
    for sequencer in (whole, again):
        fold(sequencer, [Command(0, 30_000)], START_MS + 9)
        sequencer.commit()
    assert state(again) == state(whole)
    retries = [Command(n % CONVERSATIONS, n + 1) for n in range(25_000)]
    results = fold(again, retries, START_MS + 10)
    assert results == fold(whole, retries, START_MS + 10)
    assert [result.verdict for result in results] == [NEW] * 5_001 + [DUPLICATE] * 19_999


def test_position_of_the_oldest_key_is_behind_the_last_one_without_keys() -> None:
    sequencer = Sequencer(PARTITION, 10, 100)
    assert sequencer.oldest_key_position == 1
    fold(sequencer, [Command(0), Command(0, 1)], START_MS)
    assert sequencer.oldest_key_position == 1
    sequencer.commit()
    assert sequencer.oldest_key_position == 2
    fold(sequencer, [Command(0)], START_MS + 500)
    sequencer.commit()
    assert sequencer.oldest_key_position == 4


def key(position: int, number: int = 1, message_id: int = 1) -> bytes:
    return KEY.pack(number, 0, 0, 1, message_id, position, START_MS, 0)


@pytest.mark.parametrize(
    ("heads", "keys", "message"),
    [
        (bytes(9), b"", "whole records"),
        (bytes(8), bytes(63), "whole records"),
        (bytes(8), key(1, 0), "zero"),
        (bytes(8), key(1) + key(2), "twice"),
        (bytes(8), key(2) + key(2, 2), "rise"),
        (bytes(8), key(0), "rise"),
        (bytes(8), key(10), "rise"),
        (bytes(8), key(1, 1, 1 << 63), "63 bits"),
    ],
    ids=["heads", "half a key", "zero", "double", "equal", "first", "last", "id"],
)
def test_restoring_what_makes_no_sense_is_refused_and_changes_nothing(
    heads: bytes, keys: bytes, message: str
) -> None:
    sequencer = Sequencer(PARTITION, 10, 100)
    with pytest.raises(ValueError, match=message):
        sequencer.restore(9, 9, heads, keys)
    assert state(sequencer) == state(Sequencer(PARTITION, 10, 100))
    sequencer.restore(9, 9, struct.pack("<2Q", 4, 5), key(3) + key(9, 2))
    assert (sequencer.last_position, sequencer.dedupe_len, sequencer.head(1)) == (9, 2, 5)


def test_sequencer_that_has_folded_is_not_restored() -> None:
    sequencer = Sequencer(PARTITION, 10, 100)
    fold(sequencer, [Command(0)], START_MS)
    for end in (sequencer.rollback, lambda: None):
        with pytest.raises(RuntimeError, match="fresh"):
            sequencer.restore(1, 1, b"", b"")
        end()
    with pytest.raises(ValueError, match="63 bits"):
        Sequencer(PARTITION, 10, 100).restore(1, 1 << 63, b"", b"")
