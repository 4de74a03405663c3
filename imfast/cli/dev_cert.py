"""`imfast dev-cert`: an authority and certificates for development."""

from __future__ import annotations

from pathlib import Path

import click

DAYS = 90


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("certificates"),
    show_default=True,
    help="Where the files are written.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    default=("localhost", "127.0.0.1", "::1"),
    show_default=True,
    help="Name or address of the server; may be repeated.",
)
@click.option(
    "--client",
    "clients",
    multiple=True,
    help="User for whom a client's certificate is made; may be repeated.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 825),
    default=DAYS,
    show_default=True,
    help="Days until the certificates expire.",
)
def command(directory: Path, names: tuple[str, ...], clients: tuple[str, ...], days: int) -> None:
    """Make a local authority, and certificates that it signs.

    Writes ca.pem, ca.key, server.pem, server.key and for each client NAME.pem, NAME.key. An
    authority that is there already is kept, so that what trusts it need not be told again. It is
    for development: whoever has ca.key can pretend to be anybody for those who trust ca.pem.
    """
    from imfast.cli.certificates import make_certificates

    for path in make_certificates(directory, names=names, clients=clients, days=days):
        click.echo(path)
    click.echo(
        f"try: imfast serve --tls-cert {directory / 'server.pem'} --tls-key"
        f" {directory / 'server.key'}\n     curl --cacert {directory / 'ca.pem'}"
        " https://localhost:8443/healthz"
    )
