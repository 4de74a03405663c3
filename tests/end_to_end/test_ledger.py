"""The ledger finds what it is there to find: each test breaks one promise."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from tests.support.ledger import Attempt, Ledger, check_live_view
from tests.support.plain_client import Frame, PlainClient


def message(seq: int, key: str) -> Frame:
    return {
        "message": {
            "conversation": "g.1",
            "seq": seq,
            "messageId": str(1000 + seq),
            "from": "alice",
            "timestampMs": 5,
            "json": {"key": key},
        }
    }


def attempt(key: str, seq: int | None) -> Attempt:
    one = Attempt("alice", "n1.w0", {"group": "g.1"}, key, {"key": key})
    if seq is not None:
        one.sent = {
            "conversation": "g.1",
            "seq": seq,
            "messageId": str(1000 + seq),
            "timestampMs": 5,
            "duplicate": False,
        }
    return one


def ledger() -> Ledger:
    """Two acknowledged sends and one without an answer, which may be there or not."""
    return Ledger([attempt("a", 1), attempt("b", 2), attempt("c", None)])


HISTORY = [message(1, "a"), message(2, "b")]


@pytest.mark.parametrize("tail", [[], [message(3, "c")]], ids=["not there", "there once"])
def test_unanswered_send_may_be_there_or_not(tail: list[Frame]) -> None:
    ledger().check({"g.1": HISTORY + tail})


BROKEN: dict[str, tuple[list[Frame], str]] = {
    "lost": ([message(1, "a")], "b was acknowledged"),
    "twice": ([*HISTORY, message(3, "b")], "b is there 2 times"),
    "unanswered twice": ([*HISTORY, message(3, "c"), message(4, "c")], "c is there 2 times"),
    "gap": ([message(1, "a"), message(3, "b")], "gap or a repeat"),
    "swapped": ([message(1, "b"), message(2, "a")], "another seq"),
    "out of order": (HISTORY[::-1], "gap or a repeat"),
    "from nowhere": ([*HISTORY, message(3, "z")], "nobody sent"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_history_is_found(name: str) -> None:
    history, reason = BROKEN[name]
    with pytest.raises(AssertionError, match=reason):
        ledger().check({"g.1": history})


def test_error_that_may_not_be_retried_is_found() -> None:
    book = ledger()
    book.attempts[2].error = {"code": 1003, "name": "invalid_argument", "retryable": False}
    with pytest.raises(AssertionError, match="c got"):
        book.check({"g.1": HISTORY})


def view(*rows: Frame) -> PlainClient:
    show: Callable[[str], list[Frame]] = lambda _: list(rows)  # noqa: E731
    return cast(PlainClient, SimpleNamespace(user="bob", server="n1.w0", rows=show))


@pytest.mark.parametrize("first", [0, 1, 2])
def test_live_view_is_any_stretch_of_the_history(first: int) -> None:
    check_live_view(view(*HISTORY[first:]), "g.1", HISTORY)


@pytest.mark.parametrize(
    "rows",
    [
        [message(2, "b"), message(1, "a")],
        [message(1, "a"), message(1, "a")],
        [message(1, "z")],
        [message(2, "b"), message(3, "c")],
        [message(1, "a"), message(3, "c")],
    ],
    ids=["order", "repeat", "content", "never stored", "hole"],
)
def test_live_view_of_something_else_is_found(rows: list[Frame]) -> None:
    with pytest.raises(AssertionError, match="was shown something else"):
        check_live_view(view(*rows), "g.1", HISTORY)
