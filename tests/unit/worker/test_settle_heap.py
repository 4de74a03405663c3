"""The zygote collects garbage over its modules, unless somebody waits for a worker."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from imfast.worker.zygote import settle_heap


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """The generations that were collected. The heap is as before in the end."""
    seen: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            seen.append(info["generation"])

    gc.disable()
    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)
    gc.unfreeze()
    gc.enable()


def test_zygote_that_is_asked_for_nothing_collects(collections: list[int]) -> None:
    reading, writing = os.pipe()
    settle_heap(reading)
    assert collections == [2]
    assert gc.get_freeze_count() > 0
    os.close(writing)
    os.close(reading)


@pytest.mark.parametrize("request_bytes", [b"fork", b""])
def test_zygote_that_is_asked_for_a_worker_does_not_collect(
    collections: list[int], request_bytes: bytes
) -> None:
    reading, writing = os.pipe()
    os.write(writing, request_bytes)
    os.close(writing)
    settle_heap(reading)
    assert collections == []
    assert gc.get_freeze_count() > 0
    os.close(reading)
