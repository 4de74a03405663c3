"""Options of the commands that are clients: where the server is, and who we are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["client_options", "resolve_token", "run_client"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def client_options(function: Decorated) -> Decorated:
    """Adds `--url`, `--token`, `--as` and `--data-dir`."""
    for decorate in (
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path),
            help="With --as: the data directory of a server on this machine.",
        ),
        click.option(
            "--as",
            "user",
            metavar="USER",
            help="Sign a token for USER with the secret of a server on this machine.",
        ),
        click.option("--token", envvar="IMFAST_TOKEN", show_envvar=True, help="The token to show."),
        click.option(
            "--url",
            envvar="IMFAST_URL",
            show_envvar=True,
            default="ws://127.0.0.1:8080",
            show_default=True,
            help="The server: ws://, wss:// or tcp://.",
        ),
    ):
        function = decorate(function)
    return function


def resolve_token(token: str | None, user: str | None, data_dir: Path | None) -> str:
    """The token to connect with.

    Raises:
        click.UsageError: neither a token nor a user is given.
        ConfigError: the server's secret cannot be read.
    """
    if user is not None:
        # Imported here: who brings a token needs no server configuration.
        from imfast.access.sign import sign_token
        from imfast.config.load import load

        return sign_token(load({"data_dir": data_dir}).settings, user, ttl_s=3600.0)
    if token is None:
        raise click.UsageError("who are you? give --token (or IMFAST_TOKEN), or --as USER")
    return token


def run_client(work: Coroutine[Any, Any, None]) -> None:
    """Runs a client; what the server or the network refuses becomes one line and exit code 1."""
    from imfast.client import ConnectionClosedError, IMFastError, OutcomeUnknownError

    try:
        asyncio.run(work)
    except (IMFastError, ConnectionClosedError, OutcomeUnknownError, OSError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from None
