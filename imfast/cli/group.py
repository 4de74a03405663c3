"""The command itself: finds a subcommand, and prints what it fails with."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

__all__ = ["main"]

_COMMANDS = {
    "bench": "Put load on a running server, and say what it did beside what is possible.",
    "config": "Show every option, its value and where that came from.",
    "data": "Verify, inspect, back up or restore a data directory.",
    "dev-cert": "Make a local authority and certificates, for development.",
    "dev-echo": "Echo WebSocket messages, for conformance suites.",
    "doctor": "Look at this machine: what is wrong with it, and how much it can hold.",
    "key": "Make, list, renew and take away keys of the server API.",
    "reload": "Let a running server take new configuration and newly installed code.",
    "outbox": "Show, retry or drop what consumers of committed messages failed at.",
    "send": "Send one message.",
    "serve": "Run the server.",
    "tail": "Print messages as they arrive.",
    "token": "Print a token for a user.",
}
"""Name → help. Here so that `imfast --help` imports no command."""


class _LazyGroup(click.Group):
    """Finds a subcommand `x-y` as `imfast.cli.x_y.command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"imfast.cli.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        # Imported here: `--help` and `--version` need none of our modules.
        from imfast.cli.refusal import said
        from imfast.errors import StartError

        try:
            return super().invoke(ctx)
        except StartError as error:
            sys.exit(said(error))


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from imfast._engine import build_info

    info = build_info()
    click.echo(f"imfast {info['version']} (git {info['revision']}, {info['profile']})")
    ctx.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print version, git revision and kind of build.",
)
def main() -> None:
    """A self-hosted instant-messaging backend: durable, ordered, fast."""
