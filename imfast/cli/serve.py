"""`imfast serve`: runs the server until it is told to stop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from imfast.cli.config_options import config_flags, load_flags

if TYPE_CHECKING:
    from imfast.config.server_settings import ServerSettings
    from imfast.supervisor.zygote import Zygote

EXIT_CODES = """
\b
Exit codes:
  0  stopped as told           5  the data directory is in use
  2  wrong option or argument  6  the development secret is exposed
  3  address in use            7  damaged data; the message has the cure
  4  data directory unusable   8  a worker cannot start
"""


@click.command(epilog=EXIT_CODES)
@config_flags()
@click.pass_obj
def command(zygote: Zygote | None, /, **flags: Any) -> None:
    """Run the server.

    Every option can also be set in a TOML file (--config) or in the environment
    (IMFAST_<OPTION>); flags win over the environment, the environment over the file. Sizes take B,
    KiB, MiB, GiB; times take ms, s, m, h, d.
    """
    from imfast.cli.remembered import Remembered, remember
    from imfast.cli.serving import serve
    from imfast.config.server_settings import ServerSettings
    from imfast.supervisor.zygote import Zygote

    given = dict(flags)
    loaded = load_flags(flags)
    found = Remembered(ServerSettings.read(loaded.settings.document()), loaded.unknown_environment)

    def keep() -> None:
        # Where it cannot be kept, the next start takes a little longer.
        with suppress(OSError):
            remember(found, sys.argv[2:], loaded.config_file)

    sys.exit(serve(found, zygote or Zygote(), lambda: _read(given), started=keep))


def settings_of(arguments: Sequence[str]) -> ServerSettings:
    """Reads the configuration anew, as the command does with these arguments.

    Raises:
        ConfigError: it is not usable.
    """
    from imfast.errors import ConfigError

    try:
        with command.make_context("serve", list(arguments)) as context:
            return _read(context.params)
    except click.ClickException as error:
        raise ConfigError(error.format_message()) from None


def _read(flags: dict[str, Any]) -> ServerSettings:
    from imfast.config.server_settings import ServerSettings

    return ServerSettings.read(load_flags(dict(flags)).settings.document())
