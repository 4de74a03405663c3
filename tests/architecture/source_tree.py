"""Reads the source tree for the architecture tests: files, their lines, their imports."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent

# Where an inline test module of a Rust file starts; it stands last in its file.
RUST_TESTS = re.compile(
    r"^#\[cfg\((?:all\()?test\b[^\n]*\n(?:#\[[^\n]*\n)*mod \w+ \{", re.MULTILINE
)


class Import(NamedTuple):
    """One import statement: the module that is imported, and where that is written."""

    module: str
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


@cache
def tracked_files() -> tuple[Path, ...]:
    """The files of the repository, new ones too; ignored and deleted ones are left out."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return tuple(ROOT / name for name in sorted(listing.split("\0")) if (ROOT / name).is_file())


def files_below(folder: str, *suffixes: str) -> list[Path]:
    top = ROOT / folder
    return [
        path for path in tracked_files() if path.is_relative_to(top) and path.suffix in suffixes
    ]


def module_name(file: Path) -> str:
    """`imfast/cli/serve.py` is `imfast.cli.serve`, `imfast/cli/__init__.py` is `imfast.cli`."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(file: Path, source: str | None = None) -> Iterator[Import]:
    """Every import of a file, those inside functions and `TYPE_CHECKING` too, as absolute names.

    `from imfast import client` counts as `imfast.client`: the names of a `from` import may be
    modules, and for the question who may know whom the difference does not matter.
    """
    package = module_name(file).split(".")
    if file.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(file.read_text() if source is None else source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, file, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", file, node.lineno)


def rust_product_code(file: Path) -> str:
    """A Rust file without its inline test module."""
    text = file.read_text()
    tests = RUST_TESTS.search(text)
    return text[: tests.start()] if tests else text
