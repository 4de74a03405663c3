"""Makes a data directory with another number of partitions of one that no server uses."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from imfast import _engine
from imfast._engine import DataDamagedError, DataFormatError
from imfast.data.backup import GENERATION_STEP_MAX
from imfast.data.directory import layout_of, partition_directory
from imfast.errors import DataDirectoryError
from imfast.supervisor.data_directory import DataDirectory
from imfast.supervisor.layout import write_layout

__all__ = ["Resharded", "reshard"]


@dataclass(frozen=True, slots=True)
class Resharded:
    """What was brought over, and found again in the new directory."""

    conversations: int
    rows: int
    """Messages and events."""
    members: int
    keys: int


def reshard(directory: Path, target: Path, partitions: int) -> Resharded:
    """Makes `target` of a data directory, with another number of partitions.

    Conversations, numbers, ids, members, cursors and idempotency keys stay. The layout gets another
    generation, so sync tokens from before are foreign: devices go on from their cursors, and may
    be shown something twice. The old directory stays as it is: one may go back to it.

    Raises:
        DataDirectoryError: the directory cannot be read as one, its data is damaged, or the target
            is not empty or cannot be written; what was written is not what was read.
        AlreadyRunningError: a server uses the directory.
    """
    layout = layout_of(directory)
    if target.exists() and any(target.iterdir()):
        raise DataDirectoryError(f"{target} is not empty: name a directory that is not there")
    generation = layout.generation + 1 + secrets.randbelow(GENERATION_STEP_MAX)
    with DataDirectory(directory), DataDirectory(target):
        try:
            done = _engine.reshard(
                [partition_directory(directory, number) for number in range(layout.partitions)],
                layout.generation,
                [partition_directory(target, number) for number in range(partitions)],
                generation,
                bytes.fromhex(layout.hash_secret),
            )
            # Last: a directory without it is none.
            write_layout(target, replace(layout, partitions=partitions, generation=generation))
        except (DataDamagedError, DataFormatError, OSError) as error:
            raise DataDirectoryError(f"not resharded: {error}") from None
    return Resharded(*done)
