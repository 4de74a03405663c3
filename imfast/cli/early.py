"""What `imfast serve` starts before anything that takes time to load, this package included."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from imfast.supervisor.zygote import Zygote

__all__ = ["start_zygote"]


def start_zygote(arguments: Sequence[str]) -> Zygote:
    """Has what workers need loaded, while we load what we need.

    Returns what the command finds as its context's object; `arguments` are the command line's.
    """
    zygote = Zygote()
    if not {"-h", "--help"} & set(arguments):
        with suppress(OSError):  # which is met again, and said, when a worker is needed
            zygote.start()
    return zygote
