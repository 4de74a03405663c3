"""`python -P -m imfast.outbox`: the process of one consumer, as the supervisor starts it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import structlog

from imfast.errors import ExitCode, StartError
from imfast.observe.logs import configure_logs
from imfast.outbox.document import ConsumerDocument
from imfast.outbox.handler import Handler, function_of
from imfast.outbox.reader import Reader
from imfast.outbox.store import Store, store_path
from imfast.worker.parent import die_with_parent

log = structlog.get_logger(__name__)


def main() -> int:
    """Reads the document, then the log, until told to stop; returns the exit status."""
    document = ConsumerDocument.decode(sys.stdin.buffer.readline())
    die_with_parent(document.supervisor_pid)
    configure_logs(document.log_level, document.log_format, server=document.server)
    try:
        handler = Handler(function_of(document.module, document.function), document.call_timeout_s)
        with Store(store_path(document.data_dir, document.name), create=True) as store:
            asyncio.run(_run(Reader(document, store, handler)))
    except StartError as error:
        log.error("consumer_not_started", reason=str(error))
        return int(error.exit_code)
    return int(ExitCode.OK)


async def _run(reader: Reader) -> None:
    reading = asyncio.create_task(reader.run())
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, reading.cancel)
    loop.add_signal_handler(signal.SIGINT, reading.cancel)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
    await asyncio.wait([reading])
    if not reading.cancelled():
        reading.result()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread in the consumer's function must not delay the end: what it has not finished is
    # handed over again.
    os._exit(status)
