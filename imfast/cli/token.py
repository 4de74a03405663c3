"""`imfast token`: a token for a user, signed with the server's shared secret."""

from __future__ import annotations

from typing import Any

import click

from imfast.access.sign import sign_token
from imfast.cli.config_options import config_flags, load_flags
from imfast.config.units import parse_seconds
from imfast.identifiers import DEFAULT_TENANT, is_identifier

TTL_S_MAX = 366 * 86400.0


def _identifier(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not is_identifier(value):
        raise click.BadParameter("an id is 1 to 128 bytes of UTF-8 without control characters")
    return value


def _ttl(_ctx: click.Context, _parameter: click.Parameter, value: str) -> float:
    try:
        seconds = parse_seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not isinstance(seconds, float) or not 1 <= seconds <= TTL_S_MAX:
        raise click.BadParameter("1s to 366d")
    return seconds


@click.command()
@click.argument("user", callback=_identifier)
@click.option(
    "--ttl", default="24h", show_default=True, callback=_ttl, help="Time until it expires."
)
@click.option(
    "--tenant",
    default=str(DEFAULT_TENANT),
    show_default=True,
    callback=_identifier,
    help="The user's tenant.",
)
@config_flags("data_dir", "jwt_secret_file", "jwt_issuer", "jwt_audience")
def command(user: str, ttl: float, tenant: str, **flags: Any) -> None:
    """Print a token for USER, and nothing else.

    Reads the secret of the server whose data directory is given.
    """
    settings = load_flags(flags).settings
    click.echo(sign_token(settings, user, ttl_s=ttl, tenant=tenant))
