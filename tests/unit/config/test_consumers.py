"""How consumers are written in the configuration."""

from __future__ import annotations

import pytest

from imfast.config.consumers import consumer_names, parse_consumers, split_consumer
from imfast.config.load import load
from imfast.errors import ConfigError


def test_consumers_get_the_names_of_their_functions_unless_told_otherwise() -> None:
    parsed = parse_consumers("push=shop.push:deliver, shop.search:index ,")
    assert parsed == ("push=shop.push:deliver", "index=shop.search:index")
    assert parse_consumers(list(parsed)) == parsed
    assert consumer_names(parsed) == ("push", "index")
    assert split_consumer(parsed[0]) == ("push", "shop.push", "deliver")
    assert parse_consumers("") == ()


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("shop.push", r"'shop.push' is not \[NAME=\]MODULE:FUNCTION"),
        ("../x=a:b", "is not"),
        ("a.b:C", "give it a name of 1 to 32 of a-z, 0-9, _ and -: NAME=a.b:C"),
        ("a:f,b:f", "two consumers are called 'f'"),
        (",".join(f"m:f{n}" for n in range(17)), "17 consumers, of at most 16"),
    ],
)
def test_what_cannot_be_a_consumer_is_refused(given: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"option after_commit: .*{complaint}"):
        load({"after_commit": given})
