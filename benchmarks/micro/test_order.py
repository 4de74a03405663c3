"""A client's check that a row is the next one, beside applying whatever comes."""

from __future__ import annotations

from typing import Any

import pytest

from imfast.client.models import Message
from imfast.client.order import Order

ROWS = 1_000
CONVERSATIONS = 20
UPDATES = [
    Message(f"g.{number % CONVERSATIONS}", number // CONVERSATIONS + 1, number, "alice", 1)
    for number in range(ROWS)
]

pytestmark = pytest.mark.benchmark(group=f"{ROWS} rows in order")


def test_order(benchmark: Any) -> None:
    def run() -> int:
        order = Order({})
        return sum(len(order.offer(update)[0]) for update in UPDATES)

    assert benchmark(run) == ROWS


def test_without_a_check(benchmark: Any) -> None:
    def run() -> int:
        heads: dict[str, int] = {}
        for update in UPDATES:
            heads[update.conversation] = update.seq
        return len(heads)

    assert benchmark(run) == CONVERSATIONS
