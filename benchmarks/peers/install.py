"""Installs the peers into `.peers/`, and nothing in the system.

python -m benchmarks.peers.install              # all of them
python -m benchmarks.peers.install nats wse     # those whose names begin so
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.peers.registry import PEERS

__all__ = ["main"]


def main(wanted: list[str]) -> int:
    """Installs those that are missing; returns how many could not be."""
    failed = 0
    for peer in PEERS:
        if wanted and not peer.name.lower().startswith(tuple(one.lower() for one in wanted)):
            continue
        try:
            if peer.version() is None:
                peer.install()
        except (OSError, subprocess.CalledProcessError) as error:
            failed += 1
            print(f"{peer.name}: {error}", file=sys.stderr)
        else:
            print(f"{peer.name}: {peer.version()}")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
