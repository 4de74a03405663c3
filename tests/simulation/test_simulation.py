"""Seeds that once found something, and fresh ones: see README.md."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.native import engine_module
from tests.simulation.plan import make_plan
from tests.simulation.run import run_plan
from tests.simulation.search import describe, fresh_seeds, run_seed
from tests.simulation.shrink import shrink

REGRESSIONS: tuple[int, ...] = (*range(20), 101597)
"""Seeds that found a mistake of the product, or of this simulation, and some that did not."""

FRESH = 200
EASY_FAULTS = ("ack-before-sync", "failed-key-remembered", "rolled-back-number-kept")


@pytest.fixture(autouse=True)
def _nothing_is_left_for_other_threads() -> Iterator[None]:
    """An engine may be dropped on its own thread only, and a run leaves some in cycles."""
    yield
    gc.collect()


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_seed_of_before_finds_nothing(seed: int) -> None:
    result = run_seed(seed)
    assert not result.failure, describe(seed)


@pytest.mark.timeout(300)
def test_fresh_seeds_find_nothing() -> None:
    seeds = [seed for _, seed in zip(range(FRESH), fresh_seeds(), strict=False)]
    with ProcessPoolExecutor(2) as pool:
        results = dict(zip(seeds, pool.map(run_seed, seeds, chunksize=10), strict=True))
    failed = [seed for seed, result in results.items() if result.failure]
    assert not failed, describe(failed[0])
    assert sum(result.acknowledged for result in results.values()) > 20 * FRESH


def test_same_seed_runs_the_same_way() -> None:
    first, second = run_seed(3), run_seed(3)
    assert first == second


@pytest.mark.parametrize("fault", EASY_FAULTS)
def test_deliberate_fault_is_found_and_shrunk(fault: str) -> None:
    assert fault in engine_module().fault_names()
    found = next((seed for seed in range(500) if run_seed(seed, fault).failure), None)
    assert found is not None, f"{fault} was not found"
    plan = make_plan(found)
    short = shrink(plan, lambda shorter: bool(run_plan(shorter, fault).failure))
    assert 0 < len(short.operations) < len(plan.operations)
    assert run_plan(short, fault).failure
    assert not run_plan(short).failure, "without the fault the same plan holds"
