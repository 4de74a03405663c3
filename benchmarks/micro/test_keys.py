"""The client's idempotency key (UUIDv7) beside what the standard library makes."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from imfast.client.keys import idempotency_key

pytestmark = pytest.mark.benchmark(group="an idempotency key")


def test_idempotency_key(benchmark: Any) -> None:
    assert uuid.UUID(benchmark(idempotency_key)).version == 7


def test_uuid4(benchmark: Any) -> None:
    assert len(benchmark(lambda: str(uuid.uuid4()))) == 36


@pytest.mark.skipif(not hasattr(uuid, "uuid7"), reason="uuid.uuid7 came with Python 3.14")
def test_uuid7(benchmark: Any) -> None:
    make = uuid.uuid7  # type: ignore[attr-defined]
    assert len(benchmark(lambda: str(make()))) == 36
