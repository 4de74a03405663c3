"""What is called back, and that it stays so."""

from __future__ import annotations

from pathlib import Path

import pytest

from imfast.access.revocations import Change, Revocations, credential_of


def covers(them: Revocations, *, user: str = "eve", issued_s: int = 100, token: str = "t") -> bool:  # noqa: S107
    return them.covers("default", user, issued_s * 1000, credential_of(token))


@pytest.mark.parametrize("reopened", [False, True])
def test_tokens_of_before_the_second_are_covered_and_later_ones_are_not(
    tmp_path: Path, reopened: bool
) -> None:
    them = Revocations(tmp_path)
    them.apply(Change(tenant="default", user="eve", before_s=100))
    if reopened:
        them.write()
        them = Revocations(tmp_path)
    assert covers(them, issued_s=99)
    assert covers(them, issued_s=0)
    assert not covers(them, issued_s=100)
    assert not covers(them, user="bob", issued_s=1)
    assert not them.covers("other", "eve", 1, 1)
    assert them.not_before_s("default", "eve") == 100
    them.apply(Change(tenant="default", user="eve", before_s=50))
    assert them.not_before_s("default", "eve") == 100


def test_single_token_is_covered_whoever_shows_it(tmp_path: Path) -> None:
    them = Revocations(tmp_path)
    them.apply(Change(credential=credential_of("bad")))
    them.write()
    them = Revocations(tmp_path)
    assert covers(them, token="bad")
    assert not covers(them, token="good")


def test_disabled_user_is_covered_until_enabled(tmp_path: Path) -> None:
    them = Revocations(tmp_path)
    them.apply(Change(tenant="default", user="eve", disabled=True))
    assert covers(them, issued_s=10**9)
    assert them.is_disabled("default", "eve")
    them.apply(Change(tenant="default", user="eve", disabled=False))
    assert not covers(them, issued_s=10**9)
    assert not them.is_disabled("default", "eve")


def test_credentials_are_numbers_of_their_own() -> None:
    numbers = {credential_of(f"token {number}") for number in range(1000)}
    assert len(numbers) == 1000
    assert all(0 < number < 1 << 63 for number in numbers)
