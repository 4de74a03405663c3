"""Control verbs while what checks tokens does not answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from imfast.codes import Code
from imfast.errors import TokenInvalidError
from imfast.gateway.verbs import Verbs


class Engine:
    """Remembers what was decided."""

    def __init__(self) -> None:
        self.decided: list[tuple[Any, ...]] = []

    def refuse(
        self, connection: int, code: Code, message: str = "", retry_after_ms: int = 0
    ) -> None:
        self.decided.append((connection, code, retry_after_ms > 0))

    def proceed(self, connection: int) -> None:
        self.decided.append((connection, "proceed"))


class Authenticator:
    """Raises what it is told to."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    def verify(self, token: str) -> None:
        self.asked += 1
        raise self.error


def request(verb: str) -> Any:
    return SimpleNamespace(
        connection=7, verb=verb, token="t", certificate=b"", user="u", tenant="default"
    )


def test_connects_are_refused_for_a_while_once_tokens_cannot_be_checked() -> None:
    engine, authenticator = Engine(), Authenticator(OSError("keys are away"))
    verbs: Any = Verbs(engine, authenticator)  # type: ignore[arg-type]
    for _ in range(5):
        with pytest.raises(OSError, match="away"):
            verbs.decide(request("connect"))
    for verb in ("connect", "refresh"):
        verbs.decide(request(verb))
    assert authenticator.asked == 5
    assert engine.decided == [(7, Code.OVERLOADED, True)] * 2
    verbs.decide(request("history"))
    assert engine.decided[-1] == (7, "proceed"), "what needs no token goes on"


def test_forged_tokens_keep_nobody_else_out() -> None:
    engine, authenticator = Engine(), Authenticator(TokenInvalidError("forged"))
    verbs: Any = Verbs(engine, authenticator)  # type: ignore[arg-type]
    for _ in range(100):
        verbs.decide(request("connect"))
    assert authenticator.asked == 100
    assert set(engine.decided) == {(7, Code.TOKEN_INVALID, False)}
