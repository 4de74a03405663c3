"""The owner of one partition: the glue of its batch step, and its recovery.

Flow of a batch: the engine judges its commands (`begin`), the sequencer numbers them in place,
the engine hands them to the log (`append`); when the log has them, the sequencer keeps the
numbers and the engine answers and delivers. `owner.PartitionOwner` joins the two.
"""

from imfast.partition.owner import PartitionOwner

__all__ = ["PartitionOwner"]
