"""The native module says what it was built from."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import imfast
from imfast import _engine
from imfast._core import sequencer
from imfast._engine import __version__, build_info

ROOT = Path(__file__).resolve().parent.parent.parent


def test_engine_package_and_workspace_name_the_same_version() -> None:
    workspace = tomllib.loads((ROOT / "rust/Cargo.toml").read_text())["workspace"]
    expected = workspace["package"]["version"]
    assert [build_info()["version"], __version__, imfast.__version__, version("imfast")] == [
        expected
    ] * 4


def test_engine_names_a_revision_and_the_kind_of_build() -> None:
    info = build_info()
    assert re.fullmatch(r"unknown|\S*[0-9a-f]{7,}(-dirty)?|v\S+", info["revision"])
    assert info["profile"] in {"release", "debug"}


def test_wheel_and_editable_builds_contain_the_cython_modules() -> None:
    assert build_info()["features"] == ["core-ext"]


def test_product_build_has_neither_the_simulation_nor_its_deliberate_faults() -> None:
    assert not {"SimulatedWorld", "inject_fault", "fault_names"} & set(dir(_engine))
    names = re.findall(r'"([a-z-]+)", Fault::', (ROOT / "rust/faults/src/injected.rs").read_text())
    assert "ack-before-sync" in names
    for module in (_engine, sequencer):
        binary = Path(str(module.__file__)).read_bytes()
        assert not [name for name in [*names, "IMFAST_FAULT"] if name.encode() in binary]


def test_package_refuses_a_name_that_it_does_not_have() -> None:
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = imfast.nothing_of_this_name
