"""What `imfast serve` does before anything that takes time to load, ours included.

What its workers need is loaded first of all, and once: the supervisor, which needs most of it too,
forks the zygote off itself as soon as it is there. Where the configuration is that of the start
before, nothing else is loaded until the workers are on their way.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from imfast.supervisor.zygote import Zygote

__all__ = ["serve_as_before", "start_zygote"]


def start_zygote(arguments: Sequence[str]) -> Zygote:
    """Loads what workers need, and starts what forks them.

    Returns what the command finds as its context's object; `arguments` are the command line's.
    """
    zygote = Zygote()
    if not {"-h", "--help"} & set(arguments):
        # Both are met again, and said, when a worker or the native module is needed.
        with suppress(OSError, ImportError):
            zygote.split_off()
    return zygote


def serve_as_before(arguments: Sequence[str], zygote: Zygote) -> None:
    """Serves, and exits, where the configuration is remembered; returns where it has to be read.

    `arguments` are those of `imfast serve`.
    """
    from imfast.cli.remembered import recall

    found = recall(arguments)
    if found is None:
        return
    from imfast.cli.refusal import said
    from imfast.cli.serving import read_again, serve
    from imfast.errors import StartError

    try:
        status = serve(found, zygote, lambda: read_again(arguments))
    except StartError as error:
        status = said(error)
    sys.exit(status)
