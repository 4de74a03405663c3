"""`docs/unsafe.md` lists every `unsafe` of the crates, with its reason and its test."""

import re
from collections import Counter

import pytest

from tests.architecture.source_tree import ROOT, files_below

UNSAFE = re.compile(r"^(?!\s*//).*?\bunsafe\s*(?:\{|\(|impl\b|fn\b|extern\b|trait\b)", re.MULTILINE)
ROW = re.compile(
    r"^\| `(rust/[^`]+)` \| (\d+) \| ([^|]+) \| `([^`]+)` \| ([^|]+) \|$", re.MULTILINE
)


def rows() -> list[tuple[str, int, str]]:
    """Of each row the file, the count and the file of the test."""
    text = (ROOT / "docs" / "unsafe.md").read_text()
    return [(file, int(count), test) for file, count, _, test, _ in ROW.findall(text)]


def test_every_unsafe_of_the_crates_is_in_the_list() -> None:
    found = Counter[str]()
    for file in files_below("rust", ".rs"):
        count = len(UNSAFE.findall(file.read_text()))
        if count:
            found[str(file.relative_to(ROOT))] = count
    assert found, "the tree was not found"
    assert {file: count for file, count, _ in rows()} == found


def test_every_listed_file_comes_once_and_its_test_exists() -> None:
    names = [file for file, _, _ in rows()]
    assert names == sorted(set(names))
    missing = [test for _, _, test in rows() if not (ROOT / test).is_file()]
    assert not missing


def test_crates_take_over_the_lint_that_asks_for_reasons() -> None:
    workspace = (ROOT / "rust" / "Cargo.toml").read_text()
    assert 'undocumented_unsafe_blocks = "deny"' in workspace
    crates = [file for file in files_below("rust", ".toml") if file.name == "Cargo.toml"]
    without = [
        str(file.relative_to(ROOT))
        for file in crates
        if "[package]" in file.read_text() and "[lints]\nworkspace = true" not in file.read_text()
    ]
    assert without in ([], ["rust/fuzz/Cargo.toml"]), "the fuzz targets are no part of the product"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("let a = unsafe { b() };", 1),
        ("    unsafe {\n", 1),
        ("unsafe impl Send for Memory {}", 1),
        ("pub unsafe fn f() {}", 1),
        ("#[unsafe(no_mangle)]", 1),
        ("// unsafe { }", 0),
        ("/// Not unsafe (at all).", 0),
    ],
)
def test_unsafe_is_counted_outside_of_comments(source: str, count: int) -> None:
    assert len(UNSAFE.findall(source)) == count
