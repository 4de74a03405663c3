"""Our own instructions for a delivered frame, counted by callgrind (rust/micro's `fan_out`).

A run of 16 messages is encoded once and given to 256 sockets; what the kernel does is not counted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.flow.figures import TABLE, Bar, Row
from tools.guard.callgrind import count_labelled

SECTION = "Functions"
ROOT = Path(__file__).parents[2]
BAR = Bar(at_most=60)


def _program() -> str:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "rust/target"))
    command = ["cargo", "build", "--quiet", "--release", "--manifest-path", "rust/Cargo.toml"]
    command += ["--package", "imfast-micro", "--target-dir", str(target)]
    subprocess.run(command, cwd=ROOT, check=True)
    return str(target / "release/imfast-micro")


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind counts instructions")
def test_instructions_of_a_delivered_frame(benchmark: Any, tmp_path: Path) -> None:
    program = _program()
    # Counts do not vary: once is enough.
    counts = benchmark.pedantic(lambda: count_labelled([program], tmp_path), rounds=1)
    found = [counts["fan_out_delivered_frame"]]
    TABLE.rows.append(Row.alone("instructions of ours for a delivered frame", found, BAR))
