"""Prints the requirements of pyproject.toml, one a line, for the groups named as arguments.

Groups: ``build`` (the build system), ``runtime``, or the name of an extra. pip can install a
project with its extras, but not the extras without building the project.
"""

import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def main(groups: list[str]) -> None:
    document = tomllib.loads(PYPROJECT.read_text())
    known = {
        "build": document["build-system"]["requires"],
        "runtime": document["project"]["dependencies"],
        **document["project"]["optional-dependencies"],
    }
    unknown = [group for group in groups if group not in known]
    if unknown:
        raise SystemExit(f"unknown groups {unknown}; known: {', '.join(known)}")
    print("\n".join(dict.fromkeys(line for group in groups for line in known[group])))


if __name__ == "__main__":
    main(sys.argv[1:])
