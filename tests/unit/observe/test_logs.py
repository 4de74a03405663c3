"""What a log line is, and what it never has."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from imfast.observe.logs import configure_logs

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_line_is_json_when_not_on_a_terminal(stream: io.StringIO):
    configure_logs("info", "auto", server="n1.w0", stream=stream)
    structlog.get_logger("test").warning("worker_died", status=-9)
    [line] = lines(stream)
    assert line.pop("timestamp")
    assert line == {"event": "worker_died", "level": "warning", "status": -9, "server": "n1.w0"}


def test_line_below_the_level_is_not_written(stream: io.StringIO):
    configure_logs("warning", "json", stream=stream)
    structlog.get_logger("test").info("quiet")
    logging.getLogger("library").info("quiet")
    assert stream.getvalue() == ""


def test_library_logs_through_the_same_lines(stream: io.StringIO):
    configure_logs("info", "json", stream=stream)
    logging.getLogger("library").error("failed with %s", "reason", extra={"token": TOKEN})
    [line] = lines(stream)
    assert (line["event"], line["level"]) == ("failed with reason", "error")
    assert line["token"] == "[redacted]"


@pytest.mark.parametrize("form", ["json", "console"])
def test_token_and_body_are_never_written(stream: io.StringIO, form: str):
    configure_logs("debug", form, stream=stream)
    log = structlog.get_logger("test")
    log.info("refused", token="opaque-secret", reason=f"bad {TOKEN}", body=b"private words")
    log.info("frame", text="private words", json={"text": "private words"})
    log.info(f"inline {TOKEN}")
    try:
        raise ValueError(f"cannot parse {TOKEN}")
    except ValueError:
        log.exception("failed")
    written = stream.getvalue()
    assert "private words" not in written
    assert "opaque-secret" not in written
    assert TOKEN not in written
    assert "[redacted]" in written
    assert "ValueError" in written
