"""The load generator inside the extension module."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

RUN = (
    "import sys; from imfast._engine import run_load_generator as run; sys.exit(run(sys.argv[1:]))"
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_help_names_every_scenario() -> None:
    done = run("--help")
    assert done.returncode == 0
    for scenario in ("fanout", "direct", "group", "mixed", "slow-consumers", "idle", "connect"):
        assert f"\n  {scenario} " in done.stdout


def test_a_wrong_argument_is_named_and_fails() -> None:
    done = run("fanout", "--subscribers", "9")
    assert done.returncode == 1
    assert "--subscribers" in done.stderr


def test_several_processes_are_started_from_python() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = run(
            "sink",
            *("--transport", "preframed"),
            *("--port", str(server.getsockname()[1])),
            *("--connections", "4", "--processes", "2"),
            *("--warmup", "0", "--seconds", "0.1"),
        )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["ready", "result"]
    assert events[-1]["connections"] == 4
    assert events[-1]["frames"] == 0
