"""Turns the configuration's schema into command-line flags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from imfast.config.load import CONFIG_FILE_ENVIRONMENT, Loaded, load, options

__all__ = ["config_flags", "load_flags"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def config_flags(*names: str) -> Callable[[Decorated], Decorated]:
    """Adds `--config` and a flag for each option named; for every option when none is.

    Values stay text: the schema judges them like those of the file and the environment.
    """

    def decorate(function: Decorated) -> Decorated:
        described = options()
        for name in reversed(names or tuple(described)):
            option = described[name]
            function = click.option(
                option.flag,
                name,
                metavar=option.allowed if "|" in option.allowed else _metavar(option.unit),
                help=f"{option.when} [default: {option.default}]",
            )(function)
        return click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path),
            help=f"TOML file with options by name. [environment: {CONFIG_FILE_ENVIRONMENT}]",
        )(function)

    return decorate


def load_flags(flags: dict[str, Any]) -> Loaded:
    """Loads the configuration from the flags that `config_flags` added."""
    config_file = flags.pop("config_file", None)
    return load(flags, config_file)


def _metavar(unit: str) -> str:
    return {"bytes": "SIZE", "seconds": "TIME"}.get(unit, "VALUE")
