"""Configuration: what can be set, from where, and what a worker is told at its start.

Names are imported from their modules: a worker, which takes its options as the supervisor has
checked them, does not pay for the schema.
"""
