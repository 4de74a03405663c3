"""A configuration is remembered for the same sources only, and comes back as it was read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from imfast.cli import remembered
from imfast.cli.remembered import FILE_NAME, Remembered, recall, remember
from imfast.config.load import load
from imfast.config.server_settings import ServerSettings

ARGUMENTS = ["--workers", "3", "--data-dir", "d", "--log-level", "debug"]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith("IMFAST_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def read(arguments: list[str]) -> tuple[Remembered, Path | None]:
    """What a start with these arguments finds; names and values in turn."""
    flags = dict(zip(arguments[::2], arguments[1::2], strict=True))
    file = flags.pop("--config", None)
    loaded = load(
        {name[2:].replace("-", "_"): value for name, value in flags.items()},
        Path(file) if file else None,
    )
    settings = ServerSettings.read(loaded.settings.document())
    return Remembered(settings, loaded.unknown_environment), loaded.config_file


def start(arguments: list[str]) -> Remembered:
    found, file = read(arguments)
    found.settings.data_dir.mkdir(exist_ok=True)
    remember(found, arguments, file)
    return found


def test_same_sources_bring_back_what_was_read():
    found = start(ARGUMENTS)
    assert recall(ARGUMENTS) == found
    assert found.settings.worker_count == 3
    assert found.settings.data_dir == Path.cwd() / "d"


def test_supervisor_gets_every_option_as_the_schema_made_it():
    settings = load(
        {"jwt_secret_file": "s", "ready_file": "~/r", "drain_s": "1.5s", "route_buckets": "2048"}
    ).settings
    ours = ServerSettings.read(settings.document())
    for field in fields(ours)[1:]:
        assert getattr(ours, field.name) == getattr(settings, field.name), field.name
    assert ours.worker_count == settings.worker_count
    resolved = ours.resolved(workers=7, connections_max=9)
    assert (resolved.worker_count, resolved.options["workers"]) == (7, 7)
    assert resolved.options["port"] == settings.port


def set_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMFAST_PORT", "7000")


def set_unknown_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("imfast_prot", "7000")


def move_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/elsewhere")


def lose_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {900, 901})


def change_a_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    package = Path(remembered.__file__).parents[1]
    judge = package / "config" / "rules.py"
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: original(path) + b"#" * (path == judge))


def open_the_file_to_others(_: pytest.MonkeyPatch) -> None:
    Path("d", FILE_NAME).chmod(0o620)


def tear_the_file(_: pytest.MonkeyPatch) -> None:
    path = Path("d", FILE_NAME)
    path.write_bytes(path.read_bytes()[:-1])


def lose_an_option(_: pytest.MonkeyPatch) -> None:
    path = Path("d", FILE_NAME)
    path.write_bytes(path.read_bytes().replace(b'"tcp_port"', b'"tcp_prot"'))


def remove_the_file(_: pytest.MonkeyPatch) -> None:
    Path("d", FILE_NAME).unlink()


@pytest.mark.parametrize(
    "change",
    [
        set_variable,
        set_unknown_variable,
        move_home,
        lose_processors,
        change_a_judge,
        open_the_file_to_others,
        tear_the_file,
        lose_an_option,
        remove_the_file,
    ],
)
def test_any_other_source_is_read_anew(
    change: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
):
    start(ARGUMENTS)
    assert recall(ARGUMENTS) is not None
    change(monkeypatch)
    assert recall(ARGUMENTS) is None


@pytest.mark.parametrize(
    "arguments", [[*ARGUMENTS, "--port", "0"], ARGUMENTS[2:], [*ARGUMENTS[2:], *ARGUMENTS[:2]]]
)
def test_other_arguments_are_read_anew(arguments: list[str]):
    start(ARGUMENTS)
    assert recall(arguments) is None


def test_other_working_directory_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    arguments = ["--data-dir", str(tmp_path / "d"), "--ready-file", "r"]
    start(arguments)
    monkeypatch.chdir("/")
    assert recall(arguments) is None


def test_changed_file_of_options_is_read_anew(tmp_path: Path):
    file = tmp_path / "imfast.toml"
    file.write_text("port = 7000\n")
    arguments = ["--config", "imfast.toml", "--data-dir", "d"]
    assert start(arguments) == recall(arguments)
    file.write_text("port = 7001\n")
    assert recall(arguments) is None
    assert start(arguments).settings.port == 7001
    file.unlink()
    assert recall(arguments) is None


@pytest.mark.parametrize("way", ["flag", "assignment", "variable", "file", "default"])
def test_data_directory_is_found_however_it_is_named(way: str, monkeypatch: pytest.MonkeyPatch):
    arguments: list[str] = []
    directory = "data" if way == "default" else "elsewhere"
    if way == "flag":
        arguments = ["--data-dir", "wrong", "--data-dir", directory]
    elif way == "assignment":
        arguments = [f"--data-dir={directory}"]
    elif way == "variable":
        monkeypatch.setenv("IMFAST_DATA_DIR", directory)
    elif way == "file":
        Path("o.toml").write_text(f'data_dir = "{directory}"\n')
        monkeypatch.setenv("IMFAST_CONFIG", "o.toml")
    loaded = load({"data_dir": directory} if arguments else {})
    found = Remembered(ServerSettings.read(loaded.settings.document()), ())
    Path(directory).mkdir()
    remember(found, arguments, loaded.config_file)
    assert recall(arguments) == found


def test_tokens_in_the_environment_are_not_written_down(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IMFAST_TOKEN", "ey-a-token")
    start(ARGUMENTS)
    path = Path("d", FILE_NAME)
    assert b"ey-a-token" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
