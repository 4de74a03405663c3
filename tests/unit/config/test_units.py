"""Sizes and times as text, both ways."""

from __future__ import annotations

import pytest

from imfast.config.units import bytes_text, parse_bytes, parse_seconds, seconds_text


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1536, 65536, 1 << 20, 3 << 30, 1 << 40])
def test_size_that_is_written_is_read_back(size: int):
    assert parse_bytes(bytes_text(size)) == size


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.25, 1.0, 59.0, 60.0, 90.0, 3600.0, 86400.0])
def test_time_that_is_written_is_read_back(seconds: float):
    assert parse_seconds(seconds_text(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1", "1e9", "1 kb", "KiB", "0x10", "1 2", "\u0661"])
def test_text_that_is_no_size_is_refused(text: str):
    with pytest.raises(ValueError, match="a size is"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["", "-1", "inf", "1 year", "s"])
def test_text_that_is_no_time_is_refused(text: str):
    with pytest.raises(ValueError, match="a time is"):
        parse_seconds(text)
