"""layout.json: fixed once, refused when it is not ours."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from imfast.errors import DataDirectoryError, ExitCode
from imfast.supervisor.layout import open_layout


def write(directory: Path, **changes: Any) -> None:
    content = {
        "format": 2,
        "partitions": 4,
        "generation": 1,
        "hash_secret": "0f" * 16,
        "created": "2026-01-01T00:00:00+00:00",
    }
    content.update(changes)
    (directory / "layout.json").write_text(json.dumps(content))


def test_new_directory_gets_a_layout_that_stays(tmp_path: Path):
    first = open_layout(tmp_path, partitions=None, partitions_default=3)
    assert first.partitions == 3
    assert first.generation == 1
    assert len(bytes.fromhex(first.hash_secret)) == 16
    assert open_layout(tmp_path, partitions=None, partitions_default=8) == first
    assert open_layout(tmp_path, partitions=3, partitions_default=8) == first
    assert stat.S_IMODE((tmp_path / "layout.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["layout.json"]


def test_two_directories_hash_differently(tmp_path: Path):
    secrets = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        layout = open_layout(tmp_path / name, partitions=1, partitions_default=1)
        secrets.add(layout.hash_secret)
    assert len(secrets) == 2


def test_other_number_of_partitions_is_refused_naming_both(tmp_path: Path):
    write(tmp_path, partitions=4)
    with pytest.raises(DataDirectoryError) as refusal:
        open_layout(tmp_path, partitions=6, partitions_default=1)
    assert "laid out for 4 partitions" in str(refusal.value)
    assert "asks for 6" in str(refusal.value)
    assert refusal.value.exit_code == ExitCode.DATA_DIRECTORY


def test_newer_format_is_refused_whatever_else_it_has(tmp_path: Path):
    write(tmp_path, format=3, partitions="many", invention=True)
    with pytest.raises(
        DataDirectoryError, match="has format 3, this program knows formats up to 2"
    ):
        open_layout(tmp_path, partitions=None, partitions_default=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "new"},
        {"partitions": 0},
        {"partitions": 2000},
        {"hash_secret": "short"},
        {"generation": None},
        {"unknown": 1},
    ],
)
def test_damaged_layout_is_refused(tmp_path: Path, changes: dict[str, Any]):
    write(tmp_path, **changes)
    with pytest.raises(DataDirectoryError, match=f"damaged \\({next(iter(changes))}"):
        open_layout(tmp_path, partitions=None, partitions_default=1)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_layout_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "layout.json").write_bytes(content)
    with pytest.raises(DataDirectoryError, match="damaged"):
        open_layout(tmp_path, partitions=None, partitions_default=1)


@pytest.mark.parametrize(
    ("ours", "changed"),
    [
        (b'"partitions": 3', b'"partitions": 999'),
        (b'"partitions": 3', b'"partitions": 0'),
        (b'"generation": 1', b'"generation": 0'),
        (b'"hash_secret": "', b'"hash_secret": "0'),
        (b'"hash_secret": "', b'"hash_secret": null, "x": "'),
        (b'"created": "2', b'"created": "x'),
        (b'"format": 2', b'"format": 3'),
    ],
)
def test_layout_that_is_almost_as_written_is_refused(tmp_path: Path, ours: bytes, changed: bytes):
    open_layout(tmp_path, partitions=3, partitions_default=1)
    file = tmp_path / "layout.json"
    content = file.read_bytes()
    assert ours in content
    file.write_bytes(content.replace(ours, changed))
    with pytest.raises(DataDirectoryError):
        open_layout(tmp_path, partitions=None, partitions_default=1)


def test_layout_written_in_another_form_is_the_same(tmp_path: Path):
    first = open_layout(tmp_path, partitions=3, partitions_default=1)
    file = tmp_path / "layout.json"
    file.write_text(json.dumps(json.loads(file.read_text())))
    assert open_layout(tmp_path, partitions=3, partitions_default=1) == first


def test_earlier_format_is_taken_and_marked_as_ours_so_that_an_older_program_leaves_it(
    tmp_path: Path,
):
    write(tmp_path, format=1)
    layout = open_layout(tmp_path, partitions=None, partitions_default=1)
    assert (layout.partitions, layout.hash_secret) == (4, "0f" * 16)
    written = json.loads((tmp_path / "layout.json").read_text())
    assert (written["format"], written["created"]) == (2, "2026-01-01T00:00:00+00:00")
