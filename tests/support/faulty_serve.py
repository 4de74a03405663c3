"""The command `imfast`, with workers that do wrong when they are told to; see `faulty_worker`."""

from __future__ import annotations

import sys
from pathlib import Path

from imfast.cli import main
from imfast.supervisor import server

# The default of an argument: the product has no option for another worker.
assert server.run_server.__kwdefaults__ is not None
server.run_server.__kwdefaults__["command"] = [
    sys.executable,
    "-P",
    str(Path(__file__).with_name("faulty_worker.py")),
]

main()
