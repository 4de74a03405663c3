"""Which processor a worker gets."""

from __future__ import annotations

import os

import pytest

from imfast.config.affinity import processor_of, processors
from imfast.config.load import load
from imfast.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("auto", []), ("off", []), ("3", [3]), ("0,2-4", [0, 2, 3, 4]), ("5,1", [5, 1])],
)
def test_processors_are_read_in_their_order(text: str, expected: list[int]):
    assert processors(text) == expected


def test_processors_are_given_out_in_turn():
    assert [processor_of("4,2", worker, {2, 4, 6}) for worker in range(3)] == [4, 2, 4]
    assert [processor_of("auto", worker, {6, 2}) for worker in range(3)] == [2, 6, 2]
    assert processor_of("off", 0, {2, 4}) is None


@pytest.mark.parametrize("text", ["", "on", "1-", "4-2", "1,,2", "-1", "99999", "0x1", "5000"])
def test_nonsense_is_refused_as_an_option(text: str):
    with pytest.raises(ConfigError, match="cpu_affinity"):
        load({"cpu_affinity": text})


def test_processor_that_this_process_may_not_use_is_refused():
    missing = max(os.sched_getaffinity(0)) + 1
    with pytest.raises(ConfigError, match=f"may not use processor {missing}, only "):
        load({"cpu_affinity": f"{missing}"})


def test_blanks_between_processors_do_no_harm():
    first = min(os.sched_getaffinity(0))
    assert load({"cpu_affinity": f"{first}, {first}"}).settings.cpu_affinity == f"{first},{first}"
