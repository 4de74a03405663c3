"""Message ids: layout, order against any clock, limits."""

from __future__ import annotations

import pytest

from imfast._core.snowflake import Snowflake, split

EPOCH_MS = 1_704_067_200_000
NOW_MS = 1_763_899_999_000


def test_id_holds_time_partition_and_counter() -> None:
    ids = Snowflake(1_023)
    first, second = ids.next(NOW_MS), ids.next(NOW_MS)
    assert split(first) == (NOW_MS, 1_023, 0)
    assert split(second) == (NOW_MS, 1_023, 1)
    assert first == (NOW_MS - EPOCH_MS) << 22 | 1_023 << 12
    assert ids.last == second


def test_full_counter_borrows_from_the_next_millisecond() -> None:
    ids = Snowflake(5)
    made = [ids.next(NOW_MS) for _ in range(4_097)]
    assert made == sorted(set(made))
    assert split(made[4_095]) == (NOW_MS, 5, 4_095)
    assert split(made[4_096]) == (NOW_MS + 1, 5, 0)
    assert split(ids.next(NOW_MS + 1)) == (NOW_MS + 1, 5, 1)


def test_clock_going_backwards_keeps_ids_rising() -> None:
    ids = Snowflake(0)
    first = ids.next(NOW_MS)
    assert ids.next(NOW_MS - 86_400_000) == first + 1
    assert split(ids.next(NOW_MS + 1)) == (NOW_MS + 1, 0, 0)


def test_times_before_the_epoch_count_as_the_epoch() -> None:
    ids = Snowflake(0)
    assert split(ids.next(0)) == (EPOCH_MS, 0, 1)  # 0 is no id
    assert split(ids.next(EPOCH_MS - 1)) == (EPOCH_MS, 0, 2)


def test_ids_fit_in_63_bits_until_the_last_millisecond() -> None:
    last_ms = EPOCH_MS + 2**41 - 1
    assert Snowflake(1_023).next(last_ms) < 2**63
    with pytest.raises(ValueError, match="does not fit"):
        Snowflake(0).next(last_ms + 1)


def test_partition_beyond_ten_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="partition 1024"):
        Snowflake(1_024)
