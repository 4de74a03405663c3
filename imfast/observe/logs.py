"""Log lines: JSON for machines, coloured text on a terminal; never a token, never a body.

Every line has `timestamp`, `level`, `event` (a name in lower case, fixed in the code) and, in a
worker, `server`. Values go into fields, not into the event's name.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import Processor

__all__ = ["configure_logs"]

SECRET_FIELDS = frozenset(
    {
        "authorization",
        "base64",
        "body",
        "cookie",
        "json",
        "password",
        "payload",
        "secret",
        "text",
        "token",
    }
)
"""Fields whose values are never written, whoever logs them."""

_TOKEN = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*")
"""A JSON web token anywhere in a text: its header starts with ``{"`` in base64url."""

REDACTED = "[redacted]"


def configure_logs(
    level: str, form: str, *, server: str | None = None, stream: TextIO | None = None
) -> None:
    """Sets the process's logging up, the standard library's included.

    Args:
        level: the least severe level that is written.
        form: `json`, `console`, or `auto`: console where `stream` is a terminal.
        server: bound to every line, in a worker.
        stream: standard error when not given.
    """
    stream = stream or sys.stderr
    console = form == "console" or (form == "auto" and stream.isatty())
    # Traces are made into text before the redaction sees them, without source and locals.
    render: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if console
        else structlog.processors.JSONRenderer(_json)
    )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    if server is not None:
        structlog.contextvars.bind_contextvars(server=server)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blanks secret fields, and tokens inside any text."""
    for name, value in event.items():
        if name in SECRET_FIELDS:
            event[name] = REDACTED
        elif isinstance(value, str):
            event[name] = _TOKEN.sub(REDACTED, value)
    return event


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
