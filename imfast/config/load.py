"""Merges defaults < TOML file < environment < flags, and remembers where each value came from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imfast.config.option import ENVIRONMENT_PREFIX, Option, describe, value_text
from imfast.config.rules import check_rules
from imfast.config.schema import Settings
from imfast.errors import ConfigError

__all__ = ["CONFIG_FILE_ENVIRONMENT", "Loaded", "load", "options"]

CONFIG_FILE_ENVIRONMENT = ENVIRONMENT_PREFIX + "CONFIG"
"""Names the TOML file where no `--config` does."""

_NOT_OPTIONS = frozenset({CONFIG_FILE_ENVIRONMENT, "IMFAST_URL", "IMFAST_TOKEN"})
"""Variables with our prefix that the command line reads itself."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid settings and where they came from."""

    settings: Settings
    origins: Mapping[str, str]
    """Option name → where its value came from. Options that are missing have their default."""
    unknown_environment: tuple[str, ...]
    """Variables with our prefix that are no option: misspelt, or of another version."""
    config_file: Path | None = None
    """The TOML file that was read."""

    def origin(self, name: str) -> str:
        """Where the value of option `name` came from."""
        return self.origins.get(name, "default")


def options() -> dict[str, Option]:
    """Every option's description, by name, in the order of the schema."""
    return {name: describe(name, field) for name, field in Settings.model_fields.items()}


def load(flags: Mapping[str, Any] | None = None, config_file: Path | None = None) -> Loaded:
    """Merges the sources and validates the result.

    Args:
        flags: option name → value given on the command line; None stands for not given.
        config_file: the TOML file; without it the one that `IMFAST_CONFIG` names, if any.

    Raises:
        ConfigError: an option has no usable value.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    path = config_file or _path_of_environment()
    if path is not None:
        for name, value in _read_toml(path).items():
            values[name] = value
            origins[name] = f"file {path}"
    for name, value in _read_environment().items():
        values[name] = value
        origins[name] = f"environment {ENVIRONMENT_PREFIX}{name.upper()}"
    for name, value in (flags or {}).items():
        if value is not None:
            values[name] = value
            origins[name] = f"flag --{name.replace('_', '-')}"

    # A default path is made absolute like any other, so that all settings can be relied on.
    values.setdefault("data_dir", "data")
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise ConfigError(_refusal(error, values, origins)) from None
    check_rules(settings)
    return Loaded(settings, origins, _unknown_environment(), path)


def _path_of_environment() -> Path | None:
    name = os.environ.get(CONFIG_FILE_ENVIRONMENT)
    return Path(name) if name else None


def _read_environment() -> dict[str, str]:
    """Options by name; the variables' case does not matter, and an empty one counts as not set."""
    variables = {name.upper(): value for name, value in os.environ.items() if value}
    return {
        name: variables[variable]
        for name in Settings.model_fields
        if (variable := ENVIRONMENT_PREFIX + name.upper()) in variables
    }


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration file {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"configuration file {path}: no valid TOML: {error}") from None


def _refusal(error: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """One line for each refused option: name, value, origin, reason, range."""
    known = options()
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        name = str(problem["loc"][0])
        origin = origins.get(name, "default")
        if name not in known:
            lines.append(f"option {name} (from {origin}): there is no such option")
            continue
        described = known[name]
        shown = value_text(values.get(name), "")
        reason = problem["msg"].removeprefix("Value error, ")
        line = f"option {name}: {shown!r} (from {origin}): {reason}"
        if described.allowed:
            line += f"; allowed: {described.allowed}"
        lines.append(line)
    return "\n".join(dict.fromkeys(lines))


def _unknown_environment() -> tuple[str, ...]:
    known = {option.environment for option in options().values()} | _NOT_OPTIONS
    return tuple(
        sorted(
            name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX) and name not in known
        )
    )
