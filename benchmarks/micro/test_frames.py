"""Masked WebSocket frames of 128 bytes, by one thread: rust/wire/examples/decode_rate.rs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.flow.figures import TABLE, Bar, Row

SECTION = "Functions"
ROOT = Path(__file__).parents[2]
BAR = Bar(at_least=30e6)


def _program() -> list[str]:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "rust/target"))
    command = ["cargo", "build", "--quiet", "--release", "--manifest-path", "rust/Cargo.toml"]
    command += ["--package", "imfast-wire", "--example", "decode_rate", "--target-dir", str(target)]
    subprocess.run(command, cwd=ROOT, check=True)
    return [str(target / "release/examples/decode_rate")]


def test_decode_masked_frames(benchmark: Any, rounds: int) -> None:
    program = _program()
    rates: dict[str, list[float]] = {}

    def once() -> None:
        printed = subprocess.run(program, check=True, capture_output=True, text=True).stdout
        for name, rate in re.findall(r"^(\w+): ([\d.]+) million", printed, re.MULTILINE):
            rates.setdefault(name, []).append(float(rate) * 1e6)

    benchmark.pedantic(once, rounds=rounds, iterations=1)
    for name, found in rates.items():
        figure = f"decode masked {name} frames of 128 bytes, a core: frames/s"
        TABLE.rows.append(Row.alone(figure, found, BAR))
