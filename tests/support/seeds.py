"""Randomness that can be repeated: ``IMFAST_SEED=… make test`` runs what a failure printed."""

from __future__ import annotations

import os
import random

__all__ = ["seeded_random"]


def seeded_random(name: str) -> random.Random:
    """Make the generator of a test and print its seed, which pytest shows when the test fails."""
    given = os.environ.get("IMFAST_SEED")
    seed = int(given) if given else random.SystemRandom().randrange(2**32)
    print(f"{name}: IMFAST_SEED={seed}")
    return random.Random(f"{name}:{seed}")
