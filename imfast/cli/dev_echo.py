"""`imfast dev-echo`: the server's WebSocket codec as a plain echo endpoint."""

from __future__ import annotations

import socket

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=9001,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0: the kernel chooses.",
)
def command(host: str, port: int) -> None:
    """Echo WebSocket messages until interrupted, for conformance suites such as Autobahn's.

    Any path; text and binary; compressed where the client offers permessage-deflate. Prints its
    URL once it listens.
    """
    from imfast._engine import serve_echo
    from imfast.errors import PortBusyError

    try:
        listener = socket.create_server((host, port), backlog=128)
    except OSError as error:
        raise PortBusyError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    with listener:
        click.echo(f"ws://{host}:{listener.getsockname()[1]}")
        try:
            serve_echo(listener.fileno())
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
