"""Limits on files and functions: one file holds one idea, and its name says which."""

import ast
from pathlib import Path

import pytest

from tests.architecture.source_tree import ROOT, files_below, rust_product_code, tracked_files

LINES_MAX = 600
ARGUMENTS_MAX = 15
# Names that say nothing about what is inside, so that everything ends up there.
EMPTY_NAMES = frozenset(
    {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
)
SOURCE_SUFFIXES = {".c", ".h", ".pxd", ".py", ".pyi", ".pyx", ".rs", ".sh"}

SOURCES = [path for path in tracked_files() if path.suffix in SOURCE_SUFFIXES]
PYTHON_FILES = [path for path in tracked_files() if path.suffix == ".py"]


def line_count(file: Path) -> int:
    """Physical lines; a Rust file's inline tests are not counted."""
    text = rust_product_code(file) if file.suffix == ".rs" else file.read_text()
    return text.count("\n")


def argument_count(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> int:
    """Named arguments without `self` and `cls`."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len([name for name in named if name.arg not in {"self", "cls"}])


def test_no_source_file_is_longer_than_the_limit() -> None:
    lengths = {str(file.relative_to(ROOT)): line_count(file) for file in SOURCES}
    assert lengths, "the tree was not found"
    wrong = {name: lines for name, lines in lengths.items() if lines > LINES_MAX}
    assert not wrong, f"split these: {wrong}"


def test_no_function_takes_more_arguments_than_the_limit() -> None:
    wrong = []
    for file in PYTHON_FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                count = argument_count(node)
                if count > ARGUMENTS_MAX:
                    wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} takes {count}")
    assert not wrong, "pass one object instead: " + "; ".join(wrong)


def test_no_module_has_a_name_that_says_nothing() -> None:
    wrong = [
        str(file.relative_to(ROOT))
        for file in SOURCES
        if file.stem in EMPTY_NAMES or EMPTY_NAMES & set(file.relative_to(ROOT).parts)
    ]
    assert not wrong, f"name these after what they do: {wrong}"


def test_every_stub_has_its_native_module() -> None:
    native = {pyx.stem for pyx in files_below("core_ext", ".pyx")}
    stubs = {stub.stem for stub in files_below("imfast/_core", ".pyi")}
    assert stubs == native


@pytest.mark.parametrize(
    ("source", "expected"),
    [("def f(a, /, b, *c, d, **e): ...", 3), ("class C:\n    def f(self, a): ...", 1)],
)
def test_arguments_are_counted_without_self_and_stars(source: str, expected: int) -> None:
    function = next(
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)
    )
    assert argument_count(function) == expected
