"""The regression guard: instructions of the hot functions, compared with the parent revision's.

Instruction counts repeat exactly on a machine where clocks differ by a third. benchmarks/GUARD.md
says how to read a refusal, how to waive one, and what is compared with what.
"""
