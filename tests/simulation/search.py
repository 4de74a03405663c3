"""Runs seeds (`make simulate`); prints what fails, in few operations, and how to see it again.

python -m tests.simulation.search --seconds 60       fresh seeds, for so long
python -m tests.simulation.search --seed 17          that seed, and its operations if it fails
python -m tests.simulation.search --faults           how many seeds find each deliberate fault
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count

from tests.simulation.native import engine_module
from tests.simulation.plan import make_plan
from tests.simulation.run import Result, run_plan
from tests.simulation.shrink import shrink

__all__ = ["describe", "fresh_seeds", "run_seed"]

FAULT_SEEDS_MAX = 500
SEED_BITS = 40


def run_seed(seed: int, fault: str = "") -> Result:
    """One seed, from its plan to the oracle's word."""
    return run_plan(make_plan(seed), fault)


def fresh_seeds(start: int | None = None) -> Iterator[int]:
    """Seeds that nobody chose, or those from a number on."""
    if start is not None:
        return count(start)
    draw = random.SystemRandom()
    return iter(lambda: draw.getrandbits(SEED_BITS), -1)


def describe(seed: int, fault: str = "") -> str:
    """What is wrong with a seed, in as few operations as show it."""
    plan = make_plan(seed)
    result = run_plan(plan, fault)
    if not result.failure:
        return f"seed {seed}: nothing is wrong ({result.steps} steps)"
    short = shrink(plan, lambda shorter: bool(run_plan(shorter, fault).failure))
    failure = run_plan(short, fault).failure
    lines = [
        f"seed {seed}: {result.failure}",
        f"{len(short.operations)} of {len(plan.operations)} operations still fail: {failure}",
        f"{plan.layout}",
        *map(str, short.operations),
        f"again: make simulate SEED={seed}" + (f" FAULT={fault}" if fault else ""),
    ]
    return "\n".join(lines)


def search(seconds: float, start: int | None, jobs: int) -> int:
    """Run fresh seeds for a time; returns the number that failed."""
    began = time.monotonic()
    steps = runs = acknowledged = 0
    seeds = fresh_seeds(start)
    failed = []
    with ProcessPoolExecutor(jobs) as pool:
        while time.monotonic() - began < seconds and not failed:
            batch = [next(seeds) for _ in range(20 * jobs)]
            for seed, result in zip(batch, pool.map(run_seed, batch, chunksize=5), strict=True):
                runs, steps = runs + 1, steps + result.steps
                acknowledged += result.acknowledged
                if result.failure:
                    failed.append(seed)
    elapsed = time.monotonic() - began
    for seed in failed[:3]:
        print(describe(seed))
    print(
        f"{runs} seeds, {len(failed)} failed; {steps} steps, {steps / elapsed:.0f} a second; "
        f"{acknowledged} acknowledged sends"
    )
    return len(failed)


def seeds_to_find(fault: str) -> int | None:
    """How many seeds, from 0 on, it takes to notice a deliberate fault."""
    for seed in range(FAULT_SEEDS_MAX):
        if run_seed(seed, fault).failure:
            return seed + 1
    return None


def table(faults: list[str]) -> int:
    """Print fault → seeds needed; returns how many were not found."""
    missed = 0
    print("| fault | seeds | what the oracle said |\n| --- | --- | --- |")
    for fault in faults:
        found = seeds_to_find(fault)
        said = run_seed(found - 1, fault).failure.splitlines()[0] if found else "nothing"
        missed += found is None
        print(f"| {fault} | {found or 'not found'} | {said[:110]} |", flush=True)
    return missed


def main() -> int:
    """Exit status 1 when something was found, or a deliberate fault was not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, help="run this one and shrink it")
    parser.add_argument(
        "--start", type=int, help="run the seeds from here on instead of fresh ones"
    )
    parser.add_argument("--fault", default="", help="with this deliberate fault")
    parser.add_argument("--faults", action="store_true", help="print fault and seeds needed")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    if given.faults:
        return int(table([given.fault] if given.fault else engine_module().fault_names()) > 0)
    if given.seed is not None:
        text = describe(given.seed, given.fault)
        print(text)
        return int("nothing is wrong" not in text)
    return int(search(given.seconds, given.start, given.jobs) > 0)


if __name__ == "__main__":
    sys.exit(main())
