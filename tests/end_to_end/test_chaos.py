"""Kills at random moments, under load, and every number of every conversation checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak.chaos import play
from tests.support.seeds import seeded_random

SECONDS = 25.0
# A quiet machine makes 30; a busy one starts workers more slowly.
KILLS_MIN = 8


@pytest.mark.timeout(180)
async def test_nothing_is_lost_repeated_or_reordered_by_kills_at_random_moments(
    directory: Path, request: pytest.FixtureRequest
) -> None:
    seed = seeded_random(request.node.name).getrandbits(32)
    done = await play(
        directory, seed, seconds=SECONDS, rate=500.0, connections=30, transport="ws-proto"
    )
    assert not done.is_wrong, f"{dict(done.kills)}: {done.result}"
    assert done.kills.total() >= KILLS_MIN, dict(done.kills)
    assert done.result["acknowledged"] == done.result["sent"]
