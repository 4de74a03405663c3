"""`imfast key`: keys of the server API, made and taken away beside a running server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from imfast.access.api_keys import SCOPES, ApiKey, KeyFile
from imfast.cli.config_options import config_flags, load_flags
from imfast.config.units import parse_seconds
from imfast.errors import DataDirectoryError
from imfast.identifiers import DEFAULT_TENANT, is_identifier

Result = TypeVar("Result")


def _seconds(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = parse_seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not isinstance(seconds, float) or seconds < 0:
        raise click.BadParameter("a time: 90d, 24h, 0s")
    return seconds


def _tenant(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not is_identifier(value):
        raise click.BadParameter("an id is 1 to 128 bytes of UTF-8 without control characters")
    return value


def _files(flags: dict[str, Any]) -> KeyFile:
    data_dir = load_flags(flags).settings.data_dir
    if not data_dir.is_dir():
        raise DataDirectoryError(
            f"option data_dir: {data_dir}: is no directory; the first `imfast serve` makes it"
        )
    return KeyFile(data_dir)


def _written(work: Callable[[], Result]) -> Result:
    try:
        return work()
    except KeyError as error:
        raise click.ClickException(f"no key {error.args[0]!r}; see `imfast key list`") from None
    except OSError as error:
        raise DataDirectoryError(f"{error.filename}: {error.strerror}") from None


@click.group()
def command() -> None:
    """Make, list, renew and take away keys of the server API.

    A running server heeds all of it at once. Only hashes are stored: a key is shown when it is
    made, and never again.
    """


@command.command(epilog="\b\nScopes:\n" + "\n".join(f"  {n:<10}{t}" for n, t in SCOPES.items()))
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([*SCOPES, "all"]),
    help="What it is for; may be given several times.",
)
@click.option("--ttl", callback=_seconds, help="Time until it ends; without one it does not.")
@click.option(
    "--tenant",
    default=str(DEFAULT_TENANT),
    show_default=True,
    callback=_tenant,
    help="Whose users and conversations it is about.",
)
@config_flags("data_dir")
def create(
    name: str, scopes: tuple[str, ...], ttl: float | None, tenant: str, **flags: Any
) -> None:
    """Print a new key, called NAME in lists, and nothing else."""
    files = _files(flags)
    wanted = tuple(SCOPES) if "all" in scopes else scopes
    _, text = _written(lambda: files.create(name, wanted, tenant=tenant, ttl_s=ttl))
    click.echo(text)


@command.command(name="list")
@config_flags("data_dir")
def list_keys(**flags: Any) -> None:
    """List the keys: id, name, tenant, scopes, until when."""
    for key in _files(flags).all():
        click.echo(f"{key.id}  {key.name}  {key.tenant}  {','.join(key.scopes)}  {_until(key)}")


@command.command()
@click.argument("id")
@click.option(
    "--grace",
    default="24h",
    show_default=True,
    callback=_seconds,
    help="How long the old one holds.",
)
@config_flags("data_dir")
def rotate(id: str, grace: float, **flags: Any) -> None:  # noqa: A002 - the argument's name
    """Print a new key that may do what the key ID may, which ends after a time."""
    files = _files(flags)
    _, text = _written(lambda: files.rotate(id, grace_s=grace))
    click.echo(text)


@command.command()
@click.argument("id")
@config_flags("data_dir")
def revoke(id: str, **flags: Any) -> None:  # noqa: A002 - the argument's name
    """Take the key ID away, at once."""
    files = _files(flags)
    key = _written(lambda: files.revoke(id))
    click.echo(f"revoked {key.id} ({key.name})", err=True)


def _until(key: ApiKey) -> str:
    if not key.expires_ms:
        return "does not end"
    if not key.is_valid(time.time() * 1000):
        return "has ended"
    return "ends " + time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(key.expires_ms / 1000))
