"""What stands between the kill of a server and its workers' start, and may not grow by accident."""

from __future__ import annotations

import subprocess
import sys

import pytest

SHOW = "import sys; {}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"


def loaded_by(statement: str) -> set[str]:
    """The packages that a new interpreter has loaded after a statement."""
    command = [sys.executable, "-P", "-c", SHOW.format(statement)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "package", ["pydantic", "click", "jwt", "cryptography", "aiohttp", "rich", "pygments"]
)
def test_worker_does_not_load_what_it_does_not_need_to_serve(package: str):
    assert package not in loaded_by("import imfast.worker.__main__")


NOT_NEEDED = ["pydantic", "click", "jwt", "cryptography", "aiohttp", "rich", "tomllib"]


@pytest.mark.parametrize("package", NOT_NEEDED)
def test_supervisor_that_starts_as_before_loads_no_more_than_it_needs(package: str):
    needed = "imfast.cli.serving, imfast.supervisor.server, imfast.cli.announce, imfast.access.sign"
    assert package not in loaded_by(f"import imfast.worker.__main__, {needed}")


@pytest.mark.parametrize("package", ["click", "pydantic", "orjson", "subprocess", "dataclasses"])
def test_what_is_loaded_first_is_what_workers_need(package: str):
    assert package not in loaded_by("import imfast.cli.early")


def test_rich_can_be_loaded_after_structlog_was_loaded_without_it():
    both = "import imfast.observe.lean_structlog, structlog; lean = structlog.dev.rich is None;"
    loaded = loaded_by(f"{both} import rich.console; assert lean")
    assert {"structlog", "rich"} <= loaded
