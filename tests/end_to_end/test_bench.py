"""`imfast bench` against a real server: small runs, and what is handed over."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.deadline import until
from tests.support.server import ROOT, Server

SHORT = ("--connections", "40", "--seconds", "1", "--warmup", "200ms")


async def bench(server: Server, *arguments: str, data: Path | None = None) -> tuple[int, str, str]:
    """Run the command; return its exit code, standard output and standard error."""
    process = await started(server, *arguments, data=data)
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def started(
    server: Server, *arguments: str, data: Path | None = None
) -> asyncio.subprocess.Process:
    """Start the command without waiting for it."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "imfast", "bench", *arguments),
        *("--port", str(server.ready.http)),
        *("--tcp-port", str(server.ready.tcp)),
        *("--admin-port", str(server.ready.admin)),
        *("--data-dir", str(data or server.data)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    )


class Elements(HTMLParser):
    """The names of a page's elements and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


async def test_fan_out_is_measured_and_handed_over_as_table_json_and_page(
    shared: Server, tmp_path: Path
):
    json_file, html_file = tmp_path / "run.json", tmp_path / "run.html"
    code, table, progress = await bench(
        shared,
        *("fanout", "--rate", "100", *SHORT),
        *("--json", str(json_file), "--html", str(html_file)),
    )
    assert "41 connections, " in progress
    delivered = next(line for line in table.splitlines() if line.startswith("delivered "))
    assert "/s" in delivered
    document: dict[str, Any] = json.loads(json_file.read_text())
    figures = {figure["name"]: figure for figure in document["figures"]}
    assert figures["delivered"]["value"] == pytest.approx(4000, rel=0.5)
    assert figures["latency, 99 %"]["value"] > 0
    assert figures["server CPU for a delivery"]["limit"] > 0
    assert document["result"]["lost"] == 0
    # On a machine that others keep busy the generator may come too late, and then says so.
    assert code == (3 if document["void"] else 0)
    assert document["samples"]
    page = html_file.read_text()
    elements = Elements(page)
    assert {"table", "svg", "polyline"} <= elements.names
    assert not {"script", "link", "img", "iframe"} & elements.names
    assert not {"src", "href"} & elements.attributes
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) == {"http://www.w3.org/2000/svg"}
    assert document["revision"] in page


async def test_direct_messages_over_tcp_stand_beside_the_relay_and_the_disk(shared: Server):
    code, table, errors = await bench(
        shared, "direct", "--transport", "tcp", "--rate", "200", *SHORT
    )
    assert code == 3 * ("VOID" in table), errors
    assert "relay, stores nothing" in table
    assert "write + fdatasync of 1 KiB" in table


async def test_posts_are_measured_by_their_answers(shared: Server):
    code, table, errors = await bench(
        shared, "direct", "--transport", "http", "--window", "1", *SHORT, "--no-limit"
    )
    assert code == 3 * ("VOID" in table), errors
    assert re.search(r"^messages sent.* [1-9]", table, re.MULTILINE), table
    assert "lost" not in table


async def test_events_are_delivered_to_all_that_listen(shared: Server, tmp_path: Path):
    json_file = tmp_path / "run.json"
    code, table, errors = await bench(
        shared,
        *("fanout", "--transport", "sse", "--publishers", "2", "--rate", "100", *SHORT),
        *("--no-limit", "--json", str(json_file)),
    )
    assert code == 3 * ("VOID" in table), errors
    result = json.loads(json_file.read_text())["result"]
    assert (result["subscribers"], result["lost"], result["failed"]) == (40, 0, 0)
    assert result["received"] == 40 * result["sent"] > 0
    assert result["latency"]["p99_us"] > 0


async def test_scenario_that_a_transport_cannot_play_is_refused_with_those_it_can(shared: Server):
    code, _, errors = await bench(shared, "verify", "--transport", "sse", *SHORT)
    assert code == 1
    assert "no verify over sse: its connections do not both send and receive" in errors
    assert "only connect, idle, fanout, slow-consumers" in errors


async def test_promises_are_checked_and_what_was_counted_is_shown(shared: Server):
    code, table, errors = await bench(shared, "verify", "--rate", "100", *SHORT)
    assert code == 3 * ("VOID" in table), errors
    assert re.search(r"^delivered +\d", table, re.MULTILINE)
    assert "lost" not in table
    assert "limit: none for this scenario" in table


async def test_idle_connections_are_held_and_their_memory_is_measured(shared: Server):
    code, table, errors = await bench(shared, "idle", *SHORT, "--no-limit")
    assert code == 0, errors
    assert "limit: not measured (--no-limit)" in table


async def test_saturated_generator_is_shouted_about(shared: Server, tmp_path: Path):
    page = tmp_path / "void.html"
    # A client that wastes 2 ms for each of 1,000 messages a second has time for half of them.
    slow = ("--rate", "1000", "--burn-us", "2000", "--no-limit", "--html", str(page))
    code, table, _ = await bench(shared, "direct", *SHORT, *slow)
    assert code == 3
    assert "VOID: nothing follows from this run" in table
    assert "the generator was saturated" in table
    assert "VOID" in page.read_text()


async def test_tokens_of_another_server_are_explained(shared: Server, tmp_path: Path):
    (tmp_path / "secret.key").write_text("x" * 40)
    code, _, errors = await bench(shared, "direct", *SHORT, data=tmp_path)
    assert code == 1
    assert "token_invalid: the server does not take the tokens that we signed" in errors
    assert "--data-dir" in errors


async def test_interrupt_ends_the_command_and_all_of_its_processes(shared: Server):
    long = ("--connections", "40", "--seconds", "60", "--processes", "2")
    process = await started(shared, "direct", *long, "--no-limit")
    assert process.stderr is not None
    said = b""
    while b"received" not in said:
        line = await process.stderr.readline()
        assert line, f"ended early: {said.decode()}"
        said += line
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) >= 3, "the generator and its two processes"
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert process.returncode == 130
    assert b"stopped; nothing was measured" in errors
    assert b"Traceback" not in errors
    await until(lambda: not any(one.is_running() for one in below), "the generator's end")
