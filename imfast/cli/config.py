"""`imfast config show`: every option, its value and where that came from."""

from __future__ import annotations

import sys
from typing import Any

import click

from imfast.cli.config_options import config_flags, load_flags
from imfast.config.load import Loaded, options
from imfast.config.option import value_text


@click.group()
def command() -> None:
    """Look at the configuration."""


@command.command()
@click.option("--explain", is_flag=True, help="Add range, environment name and purpose.")
@config_flags()
def show(explain: bool, **flags: Any) -> None:
    """Print every option, its value and where that came from.

    Secrets are named by file: their content is never an option, and is never printed.
    """
    loaded = load_flags(flags)
    rows = _rows(loaded, explain=explain)
    if sys.stdout.isatty():
        _print_table(rows)
        return
    for row in rows:
        click.echo("\t".join(row))


def _rows(loaded: Loaded, *, explain: bool) -> list[tuple[str, ...]]:
    header: tuple[str, ...] = ("option", "value", "from")
    if explain:
        header += ("unit", "default", "allowed", "environment", "when")
    rows = [header]
    for name, option in options().items():
        value = getattr(loaded.settings, name)
        # An option that is not set shows what the server will use in its place.
        shown = option.default if value is None else value_text(value, option.unit)
        row: tuple[str, ...] = (name, shown, loaded.origin(name))
        if explain:
            row += (option.unit, option.default, option.allowed, option.environment, option.when)
        rows.append(row)
    return rows


def _print_table(rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*rows[0])
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    Console().print(table)
