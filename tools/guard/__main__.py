"""`python -m tools.guard check [--base REVISION]` and `python -m tools.guard update`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from tools.guard.build import CountError, counts_of
from tools.guard.counts import Counts
from tools.guard.repository import Repository
from tools.guard.toolchain import toolchain
from tools.guard.verdict import judge

ROOT = Path(__file__).resolve().parents[2]
STORED = "benchmarks/micro/instructions.json"


def main() -> int:
    """Returns 0 when nothing got slower unwaived, 1 when something did, 2 without an answer."""
    parser = argparse.ArgumentParser(prog="python -m tools.guard", description=__doc__)
    parser.add_argument("action", choices=["check", "update"])
    parser.add_argument(
        "--base",
        default=os.environ.get("GUARD_BASE"),
        help="revision to compare with (default: HEAD when sources are changed, else its parent)",
    )
    arguments = parser.parse_args()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "rust/target"))
    guard = Guard(Repository(ROOT), target, ROOT)
    try:
        return guard.update() if arguments.action == "update" else guard.check(arguments.base)
    except CountError as error:
        print(f"guard: {error}", file=sys.stderr)
        return 2


class Guard:
    """One run. Counts are cached below the target directory, by sources and toolchain."""

    def __init__(self, repository: Repository, target: Path, root: Path) -> None:
        self._root = root
        self._repository = repository
        self._target = target
        self._toolchain = toolchain()

    def check(self, base: str | None) -> int:
        """Compares the working tree with a revision."""
        if not self._repository.has("HEAD"):
            print("guard: this is no clone of the repository: nothing is compared")
            return 0
        here = self._repository.fingerprint()
        head = self._repository.fingerprint("HEAD")
        base = base or ("HEAD" if here != head else "HEAD^")
        if not self._repository.has(base):
            print(f"guard: there is no {base} here (a shallow clone?): nothing is compared")
            return 0
        before = self._repository.fingerprint(base)
        if before == here:
            print(f"guard: the counted sources are those of {base}: nothing to compare")
            return 0
        if before is None:
            print(f"guard: {base} has nothing that can be counted: nothing to compare")
            return 0
        if shutil.which("valgrind") is None:
            raise CountError("valgrind is missing: `make check-tools` has the command")
        new = self._counted(here, None)
        try:
            old = self._stored(base, before) or self._counted(before, base)
        except CountError as error:
            print(f"guard: {error}\nguard: {base} cannot be counted: nothing to compare with")
            return 0
        verdict = judge(old, new, self._repository.waivers(base))
        print("\n".join(verdict.lines(base)))
        if self._stored(None, here) is None:
            print(f"guard: {STORED} is of other sources or tools; `make instructions` renews it")
        return 0 if verdict.passed else 1

    def update(self) -> int:
        """Counts the working tree and stores the result."""
        counts = self._counted(self._repository.fingerprint(), None)
        (self._root / STORED).parent.mkdir(parents=True, exist_ok=True)
        (self._root / STORED).write_text(counts.to_json())
        print(f"guard: {len(counts.functions)} functions counted into {STORED}")
        return 0

    def _stored(self, revision: str | None, sources: str | None) -> Counts | None:
        """The counts kept in the repository, if they are of these sources and tools."""
        text = self._repository.text(STORED, revision)
        counts = Counts.from_json(text) if text else None
        if counts and counts.sources == sources and counts.toolchain == self._toolchain:
            return counts
        return None

    def _counted(self, sources: str | None, revision: str | None) -> Counts:
        if sources is None:
            raise CountError("there is nothing that can be counted: no rust/micro")
        cache = self._target / "guard/counts" / f"{sources}.json"
        if cache.exists():
            counts = Counts.from_json(cache.read_text())
            if counts.toolchain == self._toolchain:
                return counts
        files = self._repository.files(revision)
        functions = counts_of(files, self._target)
        counts = Counts(sources, self._toolchain, functions)
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(counts.to_json())
        return counts


if __name__ == "__main__":
    sys.exit(main())
