"""Which crate may depend on which, and what the deterministic ones must not touch."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.source_tree import ROOT, files_below, rust_product_code

# A crate and those of ours it may depend on.
ALLOWED: dict[str, frozenset[str]] = {
    "wire": frozenset(),
    "faults": frozenset(),
    "session": frozenset({"wire"}),
    "partition": frozenset({"wire", "faults"}),
    "log": frozenset({"wire", "faults"}),
    "warm": frozenset({"partition"}),
    "routes": frozenset({"wire"}),
    "tls": frozenset(),
    "engine": frozenset({"wire", "session", "partition", "log", "warm", "routes", "faults", "tls"}),
    "micro": frozenset({"wire", "partition", "routes", "engine"}),
    "bench": frozenset({"wire", "engine"}),
    "python": frozenset({"wire", "partition", "log", "engine", "bench"}),
}
WITHOUT_SOCKETS = ("wire", "session", "partition", "log", "warm", "routes", "tls")
WITHOUT_CLOCK = ("wire", "session", "partition")

SOCKETS = re.compile(
    r"std::net::\w*(?:Stream|Listener|Socket)|std::os::unix::net|"
    r"libc::(?:socket|accept4?|recv\w*|send\w*|epoll_\w+)\b"
)
CLOCK = re.compile(r"(?:Instant|SystemTime)::now\(|libc::clock_gettime")
ASYNC_RUNTIMES = frozenset({"tokio", "mio", "async-std", "smol", "socket2"})


def manifest(crate: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "rust" / crate / "Cargo.toml").read_text())


def dependencies(crate: str, *tables: str) -> set[str]:
    document = manifest(crate)
    places = [document, *document.get("target", {}).values()]
    return {name for place in places for table in tables for name in place.get(table, {})}


def crates() -> list[str]:
    workspace = tomllib.loads((ROOT / "rust/Cargo.toml").read_text())["workspace"]
    return sorted(workspace["members"])


def product_files(crate: str) -> list[Path]:
    """The crate's sources; `src/tests/` and `src/**/tests.rs` are test modules."""
    return [
        file
        for file in files_below(f"rust/{crate}/src", ".rs")
        if file.stem != "tests" and "tests" not in file.parent.parts
    ]


def test_every_crate_of_the_workspace_has_a_row_in_the_table() -> None:
    assert set(crates()) <= ALLOWED.keys()


@pytest.mark.parametrize("crate", crates())
def test_crate_depends_only_on_crates_below_it(crate: str) -> None:
    ours = {
        name.removeprefix("imfast-")
        for name in dependencies(crate, "dependencies", "build-dependencies", "dev-dependencies")
        if name.startswith("imfast-")
    }
    assert ours <= ALLOWED[crate]


@pytest.mark.parametrize("crate", crates())
def test_pyo3_is_known_to_the_python_crate_only(crate: str) -> None:
    names = dependencies(crate, "dependencies", "build-dependencies", "dev-dependencies")
    assert crate == "python" or not {name for name in names if name.startswith("pyo3")}


@pytest.mark.parametrize("crate", crates())
def test_crate_takes_lints_and_version_from_the_workspace(crate: str) -> None:
    document = manifest(crate)
    assert document["lints"] == {"workspace": True}
    for key in ("version", "edition", "rust-version", "license"):
        assert document["package"][key] == {"workspace": True}, key


@pytest.mark.parametrize("crate", WITHOUT_SOCKETS)
def test_sans_io_crate_touches_no_socket(crate: str) -> None:
    assert not ASYNC_RUNTIMES & dependencies(crate, "dependencies")
    wrong = [
        f"{file.relative_to(ROOT)}: {found.group()}"
        for file in product_files(crate)
        for found in SOCKETS.finditer(rust_product_code(file))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("crate", WITHOUT_CLOCK)
def test_deterministic_crate_takes_time_as_an_argument(crate: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}: {found.group()}"
        for file in product_files(crate)
        for found in CLOCK.finditer(rust_product_code(file))
    ]
    assert not wrong, "\n".join(wrong)
