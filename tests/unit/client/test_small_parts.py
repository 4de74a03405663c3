"""Keys, delays, close codes, options, errors, values."""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from imfast.client import IMFastError, Options, ProtocolError
from imfast.client.backoff import Backoff, may_reconnect
from imfast.client.errors import (
    ConflictError,
    LimitError,
    NotAllowedError,
    RequestError,
    ServerError,
    error_from_code,
)
from imfast.client.keys import idempotency_key
from imfast.client.models import Event, Message, Summary
from imfast.client.requests import error_from_wire
from imfast.client.transport import check_url


def test_key_is_a_uuid_of_version_7_with_its_time() -> None:
    key = UUID(idempotency_key(1_763_899_999_000))
    assert (key.version, key.variant) == (7, "specified in RFC 4122")
    assert key.int >> 80 == 1_763_899_999_000


def test_keys_differ_within_a_millisecond_and_sort_by_time() -> None:
    assert len({idempotency_key(1) for _ in range(1000)}) == 1000
    assert idempotency_key(1) < idempotency_key(2)


def test_delays_are_anything_up_to_a_bound_that_doubles_to_the_cap() -> None:
    backoff = Backoff(base=1.0, cap=8.0, random=random.Random(3))
    bounds = [1.0, 2.0, 4.0, 8.0, 8.0]
    delays = [backoff.next() for _ in bounds]
    assert all(0 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))
    assert len(set(delays)) == len(delays)
    assert 5.0 <= backoff.next(floor=5.0) <= 13.0
    backoff.reset()
    assert backoff.next() <= 1.0


def test_quick_attempts_come_before_delays_grow() -> None:
    backoff = Backoff(base=1.0, cap=8.0, quick=3, random=random.Random(3))
    for _ in range(100):
        backoff.reset()
        bounds = [1.0, 1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 8.0]
        delays = [backoff.next() for _ in bounds]
        assert all(0 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))


def test_delays_stay_finite_after_many_attempts() -> None:
    backoff = Backoff(base=1.0, cap=8.0, attempts=5000)
    assert backoff.next() <= 8.0


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (None, True),
        (1001, True),
        (1006, True),
        (1011, True),
        (1012, True),
        (4000, True),
        (4499, True),
        (1000, False),
        (1002, False),
        (1007, False),
        (1009, False),
        (4500, False),
        (4999, False),
    ],
)
def test_close_code_decides_about_reconnecting(code: int | None, again: bool) -> None:
    assert may_reconnect(code) is again


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1003, RequestError),
        (2002, NotAllowedError),
        (3001, ConflictError),
        (4003, LimitError),
        (5002, ServerError),
        (9001, IMFastError),
    ],
)
def test_error_class_follows_the_code(code: int, kind: type[IMFastError]) -> None:
    assert type(error_from_code(code, "name")) is kind


def test_error_frame_becomes_an_exception_with_seconds() -> None:
    error = error_from_wire(
        {
            "code": 4003,
            "name": "rate_limited",
            "retryable": True,
            "retryAfterMs": 800,
            "message": "m",
        }
    )
    assert (error.code, error.name, error.retryable, error.retry_after) == (
        4003,
        "rate_limited",
        True,
        0.8,
    )
    assert str(error) == "4003 rate_limited: m"


@pytest.mark.parametrize(
    "url", ["http://a", "ws://", "tcp://host", "localhost:8080", "ws://host:99999"]
)
def test_url_that_cannot_be_used_is_named(url: str) -> None:
    with pytest.raises(ValueError, match=r"url|[Pp]ort"):
        check_url(url)


def test_option_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="buffer = 0"):
        Options(buffer=0)


def test_event_takes_one_user_or_several() -> None:
    assert Event.from_wire({"type": "joined", "user": "dan"}).users == ("dan",)
    assert Event.from_wire({"type": "joined", "users": ["a", "b"]}).users == ("a", "b")
    assert Event.from_wire({"type": "created"}).users == ()


def test_ids_are_read_from_strings_and_numbers() -> None:
    big = 2**63 - 25
    assert Message.from_wire({"messageId": str(big)}).message_id == big
    assert Message.from_wire({"messageId": big}).message_id == big


@pytest.mark.parametrize("body", [{"seq": "x"}, {"seq": None}, {"from": 3}])
def test_value_of_the_wrong_type_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        Message.from_wire(body)


def test_summary_without_a_last_row() -> None:
    assert Summary.from_wire({"conversation": "d.1", "kind": "direct", "last": {}}).last is None
