"""A worker that somebody waits for does not collect garbage over its modules."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from imfast.worker.__main__ import settle_heap


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


def test_spare_collects_while_it_waits_for_its_document(collections: list[int]) -> None:
    reading, writing = os.pipe()
    settle_heap(reading)
    assert collections == [2]
    assert gc.get_freeze_count() > 0
    os.close(writing)
    os.close(reading)


@pytest.mark.parametrize("document", [b"{}", b""])
def test_worker_whose_document_is_there_does_not_collect(
    collections: list[int], document: bytes
) -> None:
    reading, writing = os.pipe()
    os.write(writing, document)
    os.close(writing)
    settle_heap(reading)
    assert collections == []
    assert gc.get_freeze_count() > 0
    os.close(reading)
