"""Looks at a machine before a server runs on it: what is wrong, and how much it can hold."""

from imfast.doctor.capacity import Capacity, Limit, capacity
from imfast.doctor.checks import Finding, Level, examine
from imfast.doctor.readings import Readings, take_readings

__all__ = [
    "Capacity",
    "Finding",
    "Level",
    "Limit",
    "Readings",
    "capacity",
    "examine",
    "take_readings",
]
