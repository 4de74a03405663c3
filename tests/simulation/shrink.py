"""Makes a failing plan shorter: what is not needed for the failure goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.simulation.plan import Plan

__all__ = ["shrink"]

RUNS_MAX = 600


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """Drop operations, many at a time first, as long as the plan still fails."""
    runs = 0
    chunk = max(len(plan.operations) // 2, 1)
    while runs < RUNS_MAX:
        dropped = False
        start = 0
        while start < len(plan.operations) and runs < RUNS_MAX:
            rest = plan.operations[:start] + plan.operations[start + chunk :]
            shorter = replace(plan, operations=rest)
            runs += 1
            if fails(shorter):
                plan, dropped = shorter, True
            else:
                start += chunk
        if chunk == 1 and not dropped:
            break
        chunk = max(chunk // 2, 1)
    return plan
