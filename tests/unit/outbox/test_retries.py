"""When what failed is tried again."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from imfast.outbox.retries import Retries
from imfast.outbox.store import Letter

LETTER = Letter("7", 0, 1, "default/d.x", b"{}", False, 0, 1_000, 1_000, "")


def retries(jitter: float = 1.0, **changes: float) -> Retries:
    fields = {"backoff_s": 1.0, "backoff_max_s": 300.0, "attempts_max": 50, "expiry_s": 86_400.0}
    return Retries(**{**fields, **changes}, jitter=lambda: jitter)  # type: ignore[arg-type]


def test_delays_double_up_to_their_bound() -> None:
    delays = [retries().delay_ms(attempts) for attempts in range(1, 12)]
    assert (
        delays == [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000] + [300_000] * 2
    )


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_jitter_takes_at_most_half_of_a_delay(attempts: int, jitter: float) -> None:
    whole = retries().delay_ms(attempts)
    assert whole / 2 - 1 <= retries(jitter).delay_ms(attempts) <= whole


def test_letter_is_dead_after_its_last_attempt() -> None:
    letter = LETTER
    for attempt in range(1, 3):
        letter = retries(attempts_max=3).after_failure(letter, f"error {attempt}", 2_000)
        assert not letter.dead
        assert (letter.attempts, letter.error) == (attempt, f"error {attempt}")
        assert letter.due_ms == 2_000 + 1_000 * 2 ** (attempt - 1)
    dead = retries(attempts_max=3).after_failure(letter, "the last", 9_000)
    assert dead == replace(letter, dead=True, attempts=3, due_ms=9_000, error="the last")


def test_letter_whose_next_attempt_would_be_too_late_expires() -> None:
    early = retries(expiry_s=60.0).after_failure(LETTER, "down", 59_000)
    assert not early.dead
    late = retries(expiry_s=60.0).after_failure(early, "down", 60_000)
    assert late.dead
    assert late.error == "expired after 2 attempts; the last: down"
