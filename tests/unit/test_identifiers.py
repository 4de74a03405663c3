"""Which names clients may choose."""

from __future__ import annotations

import pytest

from imfast.identifiers import is_identifier


@pytest.mark.parametrize("name", ["a", "alice@example.com", "名前", "a b", "a" * 128, "é" * 64])
def test_name_is_accepted(name: str):
    assert is_identifier(name)


@pytest.mark.parametrize(
    "name",
    ["", "a" * 129, "é" * 65, "a\0", "\n", "\x1f", "\x7f", "\x80", "\x9f", "\ud800", None, 7, b"a"],
)
def test_name_is_refused(name: object):
    assert not is_identifier(name)
