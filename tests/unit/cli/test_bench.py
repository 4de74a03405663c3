"""`imfast bench` before it reaches a server: options, tokens, what it refuses."""

from __future__ import annotations

import itertools
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import click.testing
import pytest

from imfast.cli.bench_options import OPTIONS, SCENARIOS, generator_arguments
from imfast.cli.group import main
from imfast.config.keys import ensure_development_secret
from imfast.config.load import load

ROOT = Path(__file__).parents[3]

OURS = {"host", "port", "tokens", "server-pids", "progress"}
"""Generator options that the command itself gives."""
FOR_TESTS_ONLY = {"server", "wait", "help"}

# Refuses whoever connects to it, and nobody else gets it.
NOBODY = 1


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("IMFAST_"):
            monkeypatch.delenv(name)


def run(*arguments: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(main, ["bench", *arguments], prog_name="imfast")


def generator_help() -> str:
    """What the generator says of itself."""
    return subprocess.run(
        [sys.executable, "-m", "imfast.bench.child", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_every_option_of_the_generator_has_its_flag_and_help():
    known = set(re.findall(r"^  --([a-z-]+)", generator_help(), re.MULTILINE))
    flags = {option.flag.removeprefix("--") for option in OPTIONS}
    assert known - OURS - FOR_TESTS_ONLY == flags


def test_help_names_every_scenario_and_every_unit():
    text = run("--help").output
    for name in SCENARIOS:
        assert re.search(rf"^ +{name} ", text, re.MULTILINE), name
    for unit in ("BYTES", "TIME", "PER_SECOND", "Exit codes:"):
        assert unit in text


def test_arguments_are_those_that_were_given():
    given = {option.name: option.default for option in OPTIONS}
    given |= {"ephemeral": True, "no_keys": False, "rate": 5000.0, "seconds": 0.25}
    arguments = generator_arguments({**given, "host": "left alone"})
    pairs = dict(itertools.pairwise(arguments))
    assert pairs["--rate"] == "5000.0"
    assert pairs["--seconds"] == "0.25"
    assert "--ephemeral" in arguments
    assert "--no-keys" not in arguments
    assert "--mix" not in arguments, "the generator has its own default"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dance"], "dance"),
        (["direct", "--seconds", "0"], "a time above 0 s"),
        (["direct", "--seconds", "soon"], "--seconds"),
        (["direct", "--rate", "-1"], "--rate"),
        (["direct", "--write", "some"], "'some' is not one of"),
        (["direct", "--tokens", "nowhere"], "nowhere"),
        (["direct", "--connections", "0"], "--connections"),
        (["direct", "--connections", "999999999"], "ulimit -Hn"),
        (["direct", "--port", "70000"], "option port"),
        (["direct", "--no-such-option"], "No such option"),
    ],
)
def test_wrong_option_is_named_and_nothing_is_touched(arguments: list[str], said: str):
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_no_server_says_where_and_what_to_do():
    result = run("direct", "--port", str(NOBODY))
    assert result.exit_code == 1
    assert f"no server at 127.0.0.1:{NOBODY} (Connection refused)" in result.output
    assert "--port" in result.output
    tcp = run("direct", "--transport", "tcp", "--tcp-port", str(NOBODY))
    assert "--tcp-port" in tcp.output


@pytest.fixture
def listening() -> socket.socket:
    """Somebody listens there; nothing else of a server."""
    return socket.create_server(("127.0.0.1", 0))


def test_tokens_that_only_the_issuer_can_sign_are_not_made_up(
    listening: socket.socket, tmp_path: Path
):
    key = tmp_path / "public.pem"
    key.write_text("no key is needed to refuse")
    arguments = ["--port", str(listening.getsockname()[1]), "--admin-port", str(NOBODY)]
    arguments += ["--jwt-algorithm", "RS256", "--jwt-public-key-file", str(key)]
    with listening:
        result = run("direct", *arguments, "--data-dir", str(tmp_path))
    assert result.exit_code == 2
    assert "the issuer of your tokens signs them" in result.output


def test_data_directory_without_a_server_s_secret_is_named(
    listening: socket.socket, tmp_path: Path
):
    arguments = ["--port", str(listening.getsockname()[1]), "--admin-port", str(NOBODY)]
    with listening:
        result = run("direct", *arguments, "--data-dir", str(tmp_path / "other"))
    assert result.exit_code == 2
    assert "has no development secret" in result.output


def test_generator_that_gives_up_is_quoted_in_one_line(tmp_path: Path):
    ensure_development_secret(load({"data_dir": str(tmp_path)}).settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        arguments = ["--port", port, "--admin-port", str(NOBODY), "--data-dir", str(tmp_path)]
        result = run("direct", *arguments, "--transport", "pigeon")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "Error: no transport pigeon"
