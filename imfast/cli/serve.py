"""`imfast serve`: runs the server until it is told to stop."""

from __future__ import annotations

import gc
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from imfast.cli.config_options import config_flags, load_flags

if TYPE_CHECKING:
    from collections.abc import Callable

    from imfast.config.load import Loaded
    from imfast.config.schema import Settings
    from imfast.supervisor.opened import Opened
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
    from imfast.supervisor.opened import open_server
    from imfast.supervisor.zygote import Zygote

    given = dict(flags)
    loaded = load_flags(flags)
    # Until a reload can be done: whoever finds this server by its lock may ask for one already.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with open_server(loaded.settings, zygote or Zygote()) as opened:
        sys.exit(_serve(loaded, opened, lambda: load_flags(dict(given)).settings))


def _serve(loaded: Loaded, opened: Opened, load: Callable[[], Settings]) -> int:
    first = opened.first_workers()

    # All of these are loaded while the workers start; see imfast.supervisor.opened.
    from imfast.observe.lean_structlog import structlog
    from imfast.observe.logs import configure_logs

    configure_logs(loaded.settings.log_level, loaded.settings.log_format)

    import uvloop

    from imfast.cli.announce import announce
    from imfast.config.worker_document import STOP_SIGNALS
    from imfast.supervisor.server import run_server

    gc.freeze()
    gc.enable()  # which imfast.__main__ disabled
    for name in loaded.unknown_environment:
        structlog.get_logger(__name__).warning("environment_variable_is_no_option", name=name)

    async def serve() -> int:
        status = await run_server(opened, first, announce=announce, load=load)
        # The loop takes its handlers away when it closes: a late signal changes nothing.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        return status

    # Not `uvloop.run`: its tear-down runs the loop again, which takes descriptors. All tasks have
    # ended, and the end must not fail where none is left.
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(serve())
    finally:
        loop.close()
