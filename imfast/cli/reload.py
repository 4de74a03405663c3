"""`imfast reload`: new configuration or newly installed code takes over in a running server."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click
import orjson

from imfast.cli.config_options import config_flags, load_flags
from imfast.config.units import parse_seconds
from imfast.errors import ConfigError, DataDirectoryError, ExitCode

LOOK_S = 0.05


def _patience(_ctx: click.Context, _parameter: click.Parameter, value: str) -> float:
    try:
        seconds = parse_seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not isinstance(seconds, float):
        raise click.BadParameter("a time like 10m")
    return seconds


@click.command()
@click.option(
    "--wait",
    "patience_s",
    default="10m",
    show_default=True,
    callback=_patience,
    metavar="TIME",
    help="How long to wait for the end; the reload goes on after that.",
)
@click.option(
    "--certificates",
    is_flag=True,
    help="Read only the files of TLS again; no worker is replaced, no connection closed.",
)
@config_flags("data_dir")
def command(patience_s: float, certificates: bool, **flags: Any) -> None:
    """Make a running server read its configuration again and load what is installed now.

    One worker after the other is replaced; no connection attempt is refused and no message lost.
    Clients of a worker that is replaced come back to another one. A configuration that is not
    usable changes nothing, nor does code that does not start. The same as SIGHUP to the server,
    or SIGUSR1 for --certificates, with an answer.

    \b
    Exit codes: 0 reloaded, 2 refused, 4 no server runs on the data directory,
    8 not over within --wait.
    """
    from imfast.supervisor.data_directory import reload_outcome, server_pid

    directory = load_flags(flags).settings.data_dir
    outcome = reload_outcome(directory)
    before = _number(outcome)
    pid = server_pid(directory)
    if pid is None:
        raise DataDirectoryError(f"no server runs on the data directory {directory}")
    os.kill(pid, signal.SIGUSR1 if certificates else signal.SIGHUP)
    until = time.monotonic() + patience_s
    while _number(outcome) <= before:
        if server_pid(directory) != pid:
            raise DataDirectoryError(f"the server with pid {pid} ended meanwhile")
        if time.monotonic() >= until:
            click.echo(f"imfast: the server still reloads after {patience_s:g} s", err=True)
            sys.exit(ExitCode.WORKER_FAILED)
        time.sleep(LOOK_S)
    error = orjson.loads(outcome.read_bytes())["error"]
    if error is not None:
        raise ConfigError(error)
    click.echo("reloaded")


def _number(outcome: Path) -> int:
    try:
        return int(orjson.loads(outcome.read_bytes())["number"])
    except FileNotFoundError:
        return 0
