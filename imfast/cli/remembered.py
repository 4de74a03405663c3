"""What a server's configuration was read as, remembered for its next start.

Reading it takes longer than all else that a supervisor does before its workers start: click,
pydantic and the schema are 100 ms of processor time, for which clients wait after a crash. What
they make of a configuration follows from its sources alone, so a start with the same ones takes the
result of the one before. What is refused is not remembered, and refused with the same words again.

The sources are the command line, the environment, the file of options, the directory in which we
run, who runs us, the processors that we may use, and the modules that judge all this. A digest of
them stands beside the options; where anything differs, or the file is not quite as we write it, the
configuration is read anew.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson

from imfast.config.durable_file import write_atomically
from imfast.config.server_settings import ServerSettings

__all__ = ["Remembered", "recall", "remember"]

FORMAT = 1
FILE_NAME = "run/options.json"
"""Below the data directory."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A configuration, as `imfast.config.load` found it."""

    settings: ServerSettings
    unknown_environment: tuple[str, ...]


def remember(found: Remembered, arguments: Sequence[str], config_file: Path | None) -> None:
    """Keeps what was found for a start with the same `arguments` of the command line.

    Raises:
        OSError: it cannot be written; the next start reads everything anew.
    """
    path = found.settings.data_dir / FILE_NAME
    content = {
        "digest": _digest(arguments, config_file),
        "config_file": None if config_file is None else str(config_file),
        "options": found.settings.options,
        "unknown_environment": found.unknown_environment,
    }
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomically(path, orjson.dumps(content), mode=0o600, durable=False)


def recall(arguments: Sequence[str]) -> Remembered | None:
    """What is remembered of the same sources; None where nothing is."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        path = _guessed_directory(arguments) / FILE_NAME
        if not _is_ours(path):
            return None
        content: dict[str, Any] = orjson.loads(path.read_bytes())
        file = content["config_file"]
        if content["digest"] == _digest(arguments, None if file is None else Path(file)):
            return Remembered(
                ServerSettings.read(content["options"]), tuple(content["unknown_environment"])
            )
    return None


def _digest(arguments: Sequence[str], config_file: Path | None) -> str:
    """Of all that decides what a configuration is read as.

    Which file of options is read follows from the others, so that a remembered one may be trusted.

    Raises:
        OSError: that file cannot be read.
    """
    package = Path(__file__).parents[1]
    judges = [*sorted((package / "config").glob("*.py")), package / "limits.py"]
    sources = (
        FORMAT,
        sys.version,
        list(arguments),
        sorted((name, value) for name, value in os.environ.items() if _is_source(name)),
        None if config_file is None else (str(config_file), config_file.read_bytes()),
        str(Path.cwd()),
        os.getuid(),
        sorted(os.sched_getaffinity(0)),
        [(judge.name, judge.read_bytes()) for judge in judges],
    )
    return hashlib.sha256(repr(sources).encode(errors="backslashreplace")).hexdigest()


def _is_source(name: str) -> bool:
    return name == "HOME" or name.upper().startswith("IMFAST_")


def _is_ours(path: Path) -> bool:
    """Whether nobody else can have written it."""
    stat = path.stat()
    return stat.st_uid == os.getuid() and not stat.st_mode & 0o022


def _guessed_directory(arguments: Sequence[str]) -> Path:
    """Where the data directory probably is: a wrong guess finds nothing, or another digest."""
    environment = {name.upper(): value for name, value in os.environ.items() if value}
    directory = _flag("--data-dir", arguments) or environment.get("IMFAST_DATA_DIR")
    file = _flag("--config", arguments) or environment.get("IMFAST_CONFIG")
    if directory is None and file is not None:
        import tomllib

        directory = tomllib.loads(Path(file).read_text(encoding="utf-8")).get("data_dir")
    return Path(directory or "data").expanduser()


def _flag(name: str, arguments: Sequence[str]) -> str | None:
    """The value that a flag has in the end, if it is given."""
    found = None
    for argument, following in zip_longest(arguments, arguments[1:]):
        if argument == name:
            found = following
        elif argument.startswith(f"{name}="):
            found = argument.partition("=")[2]
    return found
