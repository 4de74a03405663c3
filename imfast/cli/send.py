"""`imfast send`: one message, and the number it got."""

from __future__ import annotations

from pathlib import Path

import click

from imfast.cli.client_options import client_options, resolve_token, run_client


@click.command()
@client_options
@click.option("--group", "is_group", is_flag=True, help="TO is the id of a group.")
@click.option("--key", help="Idempotency key: however often this is run, the message is sent once.")
@click.argument("to")
@click.argument("text")
def command(
    url: str,
    token: str | None,
    user: str | None,
    data_dir: Path | None,
    is_group: bool,
    key: str | None,
    to: str,
    text: str,
) -> None:
    """Send TEXT to the user (or group) TO; print the conversation and the number it got."""
    run_client(_send(url, resolve_token(token, user, data_dir), to, text, is_group, key))


async def _send(url: str, token: str, to: str, text: str, is_group: bool, key: str | None) -> None:
    from imfast.client import Group, connect

    async with connect(url, token=token) as im:
        sent = await im.send(Group(to) if is_group else to, text=text, key=key)
    click.echo(f"{sent.conversation} {sent.seq}")
