"""How long a frame may wait for others, as an option."""

from __future__ import annotations

import pytest

from imfast.config.coalesce import coalesce_ms
from imfast.config.load import load
from imfast.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("adaptive", None), ("0", 0), ("2", 2), ("2ms", 2), ("10 ms", 10), ("1000", 1000)],
)
def test_option_is_adaptive_or_milliseconds(text: str, expected: int | None):
    assert coalesce_ms(load({"coalesce": text}).settings.coalesce) == expected


@pytest.mark.parametrize("text", ["", "1001", "-1", "1.5", "2s", "off", "¹"])
def test_nonsense_is_refused_as_an_option(text: str):
    with pytest.raises(ConfigError, match="coalesce"):
        load({"coalesce": text})
