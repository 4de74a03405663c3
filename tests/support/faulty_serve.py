"""The command `imfast`, with workers that do wrong when they are told to; see `faulty_worker`."""

from __future__ import annotations

import sys
from pathlib import Path

from imfast.cli.group import main
from imfast.supervisor.zygote import Zygote

main(
    obj=Zygote([sys.executable, "-P", str(Path(__file__).with_name("faulty_worker.py"))]),
)
