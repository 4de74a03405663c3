"""Numbering a batch of 256: the sequencer beside the same decisions as a plain Python loop.

    pytest benchmarks/micro/test_sequencer.py

One round is one batch; divide by 256 for the time of a message.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from imfast._core.sequencer import Sequencer

RECORD = struct.Struct("<QQQIBBHQQQQ")
BATCH = 256
NOW_MS = 1_763_899_999_000
WINDOW_MS = 86_400_000


def make_batch(conversations: int, *, keys: bool) -> bytes:
    def key() -> int:
        return random.getrandbits(64) if keys else 0

    return b"".join(
        RECORD.pack(key(), key(), 1, random.randrange(conversations), 0, 0, 0, 0, 0, 0, NOW_MS)
        for _ in range(BATCH)
    )


def run(benchmark: Any, batches: list[bytes], step: Callable[[bytearray], None]) -> None:
    """Time `step` on one buffer that holds a batch never seen before, as the engine's does."""
    buffer = bytearray(BATCH * RECORD.size)
    fresh = iter(batches)

    def setup() -> None:
        buffer[:] = next(fresh)

    benchmark.pedantic(step, args=(buffer,), setup=setup, rounds=len(batches))


@pytest.mark.parametrize("conversations", [1_000, 65_536])
@pytest.mark.parametrize("window", ["no keys", "keys", "1 M keys in the window"])
def test_sequencer(benchmark: Any, conversations: int, window: str) -> None:
    sequencer = Sequencer(0, 1_000_000, WINDOW_MS)

    def step(buffer: bytearray) -> None:
        sequencer.fold(buffer, BATCH, NOW_MS)
        sequencer.commit()

    if window.startswith("1 M"):
        while sequencer.dedupe_len < 1_000_000:
            step(bytearray(make_batch(conversations, keys=True)))
    batches = [make_batch(conversations, keys=window != "no keys") for _ in range(1_000)]
    run(benchmark, batches, step)
    assert sequencer.last_position >= BATCH * len(batches)


@pytest.mark.parametrize("conversations", [1_000, 65_536])
def test_plain_python(benchmark: Any, conversations: int) -> None:
    heads = [0] * conversations
    results: dict[tuple[int, int], tuple[int, int, int, int]] = {}
    position = message_id = 0

    def step(buffer: bytearray) -> None:
        nonlocal position, message_id
        for i, record in enumerate(RECORD.iter_unpack(buffer)):
            high, low, payload, conversation, kind, _, _, _, _, _, time_ms = record
            if (high, low) in results:
                continue
            position += 1
            heads[conversation] += 1
            message_id = max(message_id + 1, time_ms << 22)
            results[high, low] = payload, heads[conversation], message_id, position
            out = (high, low, payload, conversation, kind, 2, 0, heads[conversation])
            RECORD.pack_into(buffer, i * RECORD.size, *out, message_id, position, time_ms)

    run(benchmark, [make_batch(conversations, keys=True) for _ in range(1_000)], step)
    assert position == BATCH * 1_000
