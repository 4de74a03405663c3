"""``python -m benchmarks.tls``: one JSON object a figure. Needs `openssl`, and a quiet machine.

Figures are made of a worker's processor time, not of the wall clock: clients share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from pathlib import Path

from benchmarks.tls.fan_out import fan_out
from benchmarks.tls.handshakes import handshakes
from benchmarks.tls.idle import idle

FIGURES = {"idle": idle, "fan-out": fan_out, "handshakes": handshakes}


def main() -> None:
    """Measures what is named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tls", description=__doc__)
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], help="all, unless named")
    for name in parser.parse_args().figures or FIGURES:
        with tempfile.TemporaryDirectory(prefix="imfast-tls-") as directory:
            found = asyncio.run(FIGURES[name](Path(directory)))
        print(json.dumps({"figure": name, "cores": os.cpu_count(), **found}), flush=True)


main()
