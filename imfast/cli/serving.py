"""Serves, once it is known what is wanted."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress

from imfast.cli.remembered import Remembered
from imfast.config.server_settings import ServerSettings
from imfast.errors import ConfigError
from imfast.supervisor.opened import open_server
from imfast.supervisor.zygote import Zygote

__all__ = ["read_again", "serve"]

READER_DELAY_S = 12.0
"""When what reads a configuration is loaded, for a reload: it is to be the code of this start, and
clients that come back have the processor first. The admin's endpoint is loaded a little earlier."""


def serve(
    found: Remembered,
    zygote: Zygote,
    load: Callable[[], ServerSettings],
    *,
    started: Callable[[], None] = lambda: None,
) -> int:
    """Runs the server until it is told to stop; returns the exit status.

    Args:
        load: reads the configuration again; raises ConfigError.
        started: called when everything is open and the workers are on their way.

    Raises:
        StartError: with the reason and the exit code.
    """
    # Until a reload can be done: whoever finds this server by its lock may ask for one already.
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    with open_server(found.settings, zygote) as opened:
        first = opened.first_workers()
        started()

        # All of these are loaded while the workers start; see imfast.supervisor.opened.
        from imfast.observe.lean_structlog import structlog
        from imfast.observe.logs import configure_logs

        configure_logs(found.settings.log_level, found.settings.log_format)

        import uvloop

        from imfast.cli.announce import announce
        from imfast.config.worker_document import STOP_SIGNALS
        from imfast.supervisor.server import run_server

        gc.freeze()
        gc.enable()  # which imfast.__main__ disabled
        for name in found.unknown_environment:
            structlog.get_logger(__name__).warning("environment_variable_is_no_option", name=name)

        async def run() -> int:
            status = await run_server(opened, first, announce=announce, load=load)
            # The loop takes its handlers away when it closes: a late signal changes nothing.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            return status

        # Not `uvloop.run`: its tear-down runs the loop again, which takes descriptors. All tasks
        # have ended, and the end must not fail where none is left.
        loop = uvloop.new_event_loop()
        loop.call_later(READER_DELAY_S, _load_reader)
        try:
            return loop.run_until_complete(run())
        finally:
            loop.close()


def read_again(arguments: Sequence[str]) -> ServerSettings:
    """Reads the configuration that was remembered, for a reload.

    Raises:
        ConfigError: it is not usable, or what reads it was replaced by what cannot.
    """
    try:
        from imfast.cli.serve import settings_of
    except ImportError as error:
        raise ConfigError(
            f"what is installed now cannot be loaded beside what runs ({error}): stop the server"
            " and start it"
        ) from None
    return settings_of(arguments)


def _load_reader() -> None:
    with suppress(ImportError):  # which a reload will tell
        import imfast.cli.serve  # noqa: F401
