"""Who may import whom. The table is the layout: nothing imports upwards."""

import subprocess
import sys
from graphlib import TopologicalSorter
from itertools import chain

import pytest

from tests.architecture.source_tree import ROOT, Import, files_below, imports_of, module_name

ANYBODY = frozenset({"*"})

# A room of imfast/ and the rooms that may import it; a room may always import itself.
IMPORTED_BY: dict[str, frozenset[str]] = {
    "__main__": frozenset(),
    "cli": frozenset({"__main__"}),
    "bench": frozenset({"cli"}),
    "config": frozenset({"access", "bench", "cli", "data", "doctor", "supervisor", "worker"}),
    "access": frozenset({"cli", "gateway", "supervisor", "worker"}),
    "data": frozenset({"cli"}),
    "doctor": frozenset({"cli"}),
    "supervisor": frozenset({"cli", "data", "doctor"}),
    "worker": frozenset({"outbox", "supervisor"}),
    "outbox": frozenset({"cli", "data", "supervisor"}),
    "gateway": frozenset({"worker"}),
    "routing": frozenset({"gateway", "worker"}),
    "partition": frozenset({"routing", "worker"}),
    "conversation": frozenset({"gateway", "partition"}),
    "delivery": frozenset({"worker"}),
    "presence": frozenset({"gateway", "worker"}),
    "adapters": frozenset({"worker"}),
    "server_api": frozenset({"__init__", "testing"}),
    "testing": frozenset(),  # for those that test against a server
    "definitions": ANYBODY,  # what HTTP requests look like
    "client": frozenset({"cli", "outbox", "__init__"}),  # __init__ hands `imfast.connect` on
    "ports": ANYBODY,
    "observe": ANYBODY,
    "identifiers": ANYBODY,
    "errors": ANYBODY,
    "codes": ANYBODY,  # generated from spec/codes.toml
    "limits": ANYBODY,  # generated from spec/limits.toml
    "_engine": frozenset(
        {
            "bench",
            "cli",
            "data",
            "supervisor",
            "worker",
            "gateway",
            "partition",
            "routing",
            "delivery",
            "adapters",
        }
    ),
    "_core": frozenset({"worker", "gateway", "partition", "delivery", "observe"}),
}

# Rooms that everybody may import know nothing but each other: an import of theirs is everybody's.
FOUNDATIONS = frozenset(
    {"ports", "observe", "identifiers", "errors", "codes", "limits", "definitions", "_core"}
)

# Drivers of external systems: each is imported in one folder below imfast/adapters/ only.
DRIVERS = frozenset(
    {
        "aioboto3", "aiobotocore", "aiokafka", "aiomysql", "asyncmy", "asyncpg", "boto3",
        "botocore", "cassandra", "confluent_kafka", "consul", "elasticsearch", "etcd3", "httpx",
        "kafka", "minio", "motor", "mysql", "psycopg", "pyarrow", "pymysql", "redis", "s3fs",
        "scyllapy", "sqlalchemy", "valkey",
    }
)  # fmt: skip

PYTHON_FILES = files_below("imfast", ".py", ".pyi")


def room_of(module: str) -> str:
    """`imfast.cli.serve` is in `cli`; the package's own file is the room `__init__`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def our_imports() -> list[tuple[str, str, Import]]:
    """(importing room, imported room, import) of every import within the package."""
    found = []
    for file in PYTHON_FILES:
        for imported in imports_of(file):
            if imported.module.split(".")[0] != "imfast":
                continue
            importer, target = room_of(module_name(file)), room_of(imported.module)
            if target not in IMPORTED_BY:  # a name of the package itself: `from imfast import x`
                target = "__init__"
            if importer != target:
                found.append((importer, target, imported))
    return found


def allowed(importer: str, target: str) -> bool:
    permitted = IMPORTED_BY.get(target, frozenset())
    if permitted == ANYBODY:
        return importer not in FOUNDATIONS or target in FOUNDATIONS
    return importer in permitted


def test_every_room_of_the_package_has_a_row_in_the_table() -> None:
    rooms = {room_of(module_name(file)) for file in PYTHON_FILES} - {"__init__"}
    assert rooms <= IMPORTED_BY.keys(), f"no row for {sorted(rooms - IMPORTED_BY.keys())}"


def test_rooms_import_only_what_the_table_allows() -> None:
    wrong = [
        f"{imported}: {importer} may not import {target}"
        for importer, target, imported in our_imports()
        if not allowed(importer, target)
    ]
    assert not wrong, "\n".join(wrong)


def test_imports_between_rooms_make_no_circle() -> None:
    # __init__ only hands names on when they are first asked for, and so closes no circle.
    graph: dict[str, set[str]] = {}
    for importer, target, _ in our_imports():
        if importer != "__init__":
            graph.setdefault(importer, set()).add(target)
    TopologicalSorter(graph).prepare()


def test_nobody_imports_the_package_file_itself() -> None:
    wrong = [str(found) for _, target, found in our_imports() if target == "__init__"]
    assert not wrong, "import the module that defines the name: " + "; ".join(wrong)


def test_drivers_are_imported_in_one_adapter_folder_only() -> None:
    folders: dict[str, set[str]] = {}
    for imported in chain.from_iterable(map(imports_of, PYTHON_FILES)):
        driver = imported.module.split(".")[0]
        if driver not in DRIVERS:
            continue
        parts = imported.file.relative_to(ROOT).parts
        inside = parts[:2] == ("imfast", "adapters") and len(parts) > 3
        assert inside, f"{imported} outside imfast/adapters/<system>/"
        assert parts[2] != "embedded", f"{imported}: the embedded adapters need no other system"
        folders.setdefault(driver, set()).add(parts[2])
    shared = {driver: sorted(where) for driver, where in folders.items() if len(where) > 1}
    assert not shared, f"one driver, one folder: {shared}"


def test_client_is_imported_without_loading_a_native_module() -> None:
    program = (
        "import sys, imfast.client\n"
        "print([m for m in sys.modules if m.startswith(('imfast._engine', 'imfast._core'))])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert run.stdout.strip() == "[]"


def test_client_knows_no_other_room() -> None:
    wrong = [
        str(imported)
        for importer, target, imported in our_imports()
        if importer == "client" and target not in {"identifiers", "__init__"}
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("imfast/cli/serve.py", "from ..worker import tick", "imfast.worker.tick"),
        ("imfast/cli/serve.py", "from . import token", "imfast.cli.token"),
        ("imfast/cli/__init__.py", "from .serve import main", "imfast.cli.serve.main"),
        ("imfast/cli/serve.py", "import imfast._engine", "imfast._engine"),
        ("imfast/errors.py", "def f():\n    from imfast import client", "imfast.client"),
    ],
)
def test_imports_are_read_as_absolute_names(file: str, source: str, expected: str) -> None:
    assert [found.module for found in imports_of(ROOT / file, source)] == [expected]


@pytest.mark.parametrize(
    ("importer", "target", "expected"),
    [
        ("cli", "supervisor", True),
        ("supervisor", "cli", False),
        ("worker", "gateway", True),
        ("gateway", "worker", False),
        ("gateway", "errors", True),
        ("errors", "observe", True),
        ("ports", "worker", False),
        ("client", "_engine", False),
    ],
)
def test_table_answers(importer: str, target: str, expected: bool) -> None:
    assert allowed(importer, target) is expected
