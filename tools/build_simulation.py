"""Builds what tests/simulation runs: `make simulation` calls it with the folder to put it into.

The engine with the features of the simulation is a binary of its own, in a cargo profile of its
own: nothing of it can get into a product build.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CARGO = [
    "cargo", "build", "--manifest-path", "rust/Cargo.toml", "--locked", "--profile", "simulation",
    "-p", "imfast-python", "--features", "simulation",
    "--message-format", "json-render-diagnostics",
]  # fmt: skip


def place(source: Path, target: Path) -> None:
    """Copy a module so that it appears complete or not at all; running ones keep the old file."""
    unfinished = target.with_suffix(".unfinished")
    shutil.copy2(source, unfinished)
    unfinished.replace(target)


def main(out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(CARGO, cwd=ROOT, stdout=subprocess.PIPE, text=True) as cargo:
        messages = [json.loads(line) for line in cargo.stdout or () if line.startswith("{")]
    if cargo.returncode:
        return cargo.returncode
    for message in messages:
        if "imfast-python" not in message.get("package_id", "") and "/python#" not in message.get(
            "package_id", ""
        ):
            continue
        if message["reason"] == "build-script-executed":
            for module in Path(message["out_dir"]).glob("imfast/_core/sequencer*.so"):
                place(module, out / module.name)
        if message["reason"] == "compiler-artifact" and "cdylib" in message["target"]["kind"]:
            [library] = [Path(name) for name in message["filenames"] if name.endswith(".so")]
            place(library, out / "_engine.so")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYO3_PYTHON", sys.executable)
    sys.exit(main(Path(sys.argv[1])))
