"""The commands as a user types them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click.testing
import pytest

import imfast
import imfast.client
from imfast.cli.announce import announce
from imfast.cli.group import main
from imfast.client import Group, Message, Sent
from imfast.config.keys import ensure_development_secret, token_key
from imfast.config.load import load
from imfast.gateway.authenticate import Authenticator
from imfast.supervisor.server import Running

Result = click.testing.Result


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("IMFAST_"):
            monkeypatch.delenv(name)


def run(*arguments: str) -> Result:
    return click.testing.CliRunner().invoke(main, arguments, prog_name="imfast")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    ensure_development_secret(load({"data_dir": str(tmp_path)}).settings)
    return tmp_path


def user_of(token: str, data_dir: Path) -> str:
    key = token_key(load({"data_dir": str(data_dir)}).settings)
    return Authenticator(algorithm="HS256", key=key).verify(token).user


def test_token_prints_just_the_token(data_dir: Path):
    result = run("token", "alice", "--data-dir", str(data_dir))
    assert result.exit_code == 0
    assert result.output.count("\n") == 1
    assert user_of(result.output.strip(), data_dir) == "alice"


def test_token_without_a_server_there_says_what_is_missing(tmp_path: Path):
    result = run("token", "alice", "--data-dir", str(tmp_path / "nowhere"))
    assert result.exit_code == 2
    assert "has no development secret" in result.output
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "arguments", [["alice", "--ttl", "never"], ["alice", "--ttl", "0"], ["a\tb"], [""]]
)
def test_token_of_nonsense_is_refused(data_dir: Path, arguments: list[str]):
    assert run("token", *arguments, "--data-dir", str(data_dir)).exit_code == 2


def test_config_show_tells_value_and_origin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    file = tmp_path / "imfast.toml"
    file.write_text('durability = "os"\n')
    monkeypatch.setenv("IMFAST_PORT", "1234")
    result = run("config", "show", "--config", str(file), "--frame-bytes-max", "128KiB")
    rows = {name: rest for name, *rest in (line.split("\t") for line in result.output.splitlines())}
    assert rows["port"] == ["1234", "environment IMFAST_PORT"]
    assert rows["durability"] == ["os", f"file {file}"]
    assert rows["frame_bytes_max"] == ["128 KiB", "flag --frame-bytes-max"]
    assert rows["heartbeat_s"] == ["25 s", "default"]
    assert rows["workers"] == ["processor cores", "default"]


def test_config_show_never_prints_a_secret(data_dir: Path):
    secret = (data_dir / "secret.key").read_text().strip()
    for arguments in ([], ["--explain"]):
        output = run("config", "show", "--data-dir", str(data_dir), *arguments).output
        assert "jwt_secret_file" in output
        assert secret not in output


def test_config_show_explains_every_option():
    lines = run("config", "show", "--explain").output.splitlines()
    assert all(len(line.split("\t")) == 8 for line in lines)
    [port] = [line.split("\t") for line in lines if line.startswith("port\t")]
    assert port[4:7] == ["8080", "0 to 65535", "IMFAST_PORT"]


def test_serve_has_a_flag_for_every_option():
    text = run("serve", "--help").output
    for flag in ("--workers", "--host", "--port", "--tcp-port", "--admin-port", "--data-dir"):
        assert flag in text
    assert "--durability fsync | os" in text
    assert "Exit codes:" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--port", "99999"], "imfast: option port: '99999' (from flag --port): "),
        (["--workers", "0"], "imfast: option workers: '0' (from flag --workers): "),
        (["--durability", "never"], "allowed: fsync | os"),
        (["--host", "no such host"], "imfast: option host: 'no such host': names no address"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_serve_refuses_a_bad_option_before_it_touches_anything(
    tmp_path: Path, arguments: list[str], text: str
):
    result = run("serve", "--data-dir", str(tmp_path / "data"), *arguments)
    assert result.exit_code == 2
    assert text in result.output
    assert not (tmp_path / "data").exists()


def test_help_and_token_import_no_server(data_dir: Path):
    program = (
        "import sys\n"
        "from imfast.cli.group import main\n"
        f"main(['token', 'alice', '--data-dir', {str(data_dir)!r}], standalone_mode=False)\n"
        "heavy = {'uvloop', 'aiohttp', 'rich', 'imfast.supervisor', 'imfast._engine'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    path = str(Path(imfast.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert result.stdout.splitlines()[1] == "[]"


# Clients


class FakeClient:
    """What `connect` was asked for, and the answers of a server."""

    def __init__(self) -> None:
        self.url = self.token = ""
        self.sent: list[dict[str, Any]] = []

    def __call__(self, url: str, *, token: str) -> Self:
        self.url, self.token = url, token
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    async def send(self, to: Any, *, text: str, key: str | None) -> Sent:
        self.sent.append({"to": to, "text": text, "key": key})
        return Sent("d.x", 7, 1, "0-1", 1000)

    @property
    async def receipts(self) -> Any:
        """None ever come."""
        await asyncio.Event().wait()
        yield

    async def __aiter__(self) -> Any:
        for seq in (1, 2, 3):
            yield Message("d.x", seq, seq, "bob", 1000, bytes=b"\0\1")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClient]:
    fake = FakeClient()
    monkeypatch.setattr(imfast.client, "connect", fake)
    return fake


def test_send_prints_conversation_and_number(client: FakeClient):
    result = run("send", "--token", "t", "--url", "tcp://h:1", "--key", "k", "bob", "hi")
    assert (result.exit_code, result.output) == (0, "d.x 7\n")
    assert (client.url, client.token) == ("tcp://h:1", "t")
    assert client.sent == [{"to": "bob", "text": "hi", "key": "k"}]


def test_send_to_a_group(client: FakeClient):
    assert run("send", "--token", "t", "--group", "g.x", "hi").exit_code == 0
    assert client.sent[0]["to"] == Group("g.x")


def test_client_signs_its_own_token_on_the_server_s_machine(client: FakeClient, data_dir: Path):
    run("send", "--as", "alice", "--data-dir", str(data_dir), "bob", "hi")
    assert user_of(client.token, data_dir) == "alice"


def test_client_without_a_token_is_refused(client: FakeClient):
    result = run("send", "bob", "hi")
    assert result.exit_code == 2
    assert "give --token" in result.output
    assert client.sent == []


def test_tail_prints_one_object_a_line_up_to_the_count(client: FakeClient):
    result = run("tail", "--token", "t", "--count", "2")
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert [line["update"]["seq"] for line in lines] == [1, 2]
    assert lines[0]["type"] == "message"
    assert lines[0]["update"]["bytes"] == "AAE="


def test_refused_connection_is_one_line_and_exit_code_1(monkeypatch: pytest.MonkeyPatch):
    def refuse(url: str, *, token: str) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(imfast.client, "connect", refuse)
    result = run("send", "--token", "t", "bob", "hi")
    assert result.exit_code == 1
    assert result.output == "Error: [Errno 111] Connection refused\n"


# Announcement


def announced(capsys: pytest.CaptureFixture[str], **flags: str) -> str:
    settings = load(flags).settings.model_copy(update={"workers": 2, "partitions": 2})
    announce(Running(settings, "127.0.0.1", {"http": 1, "tcp": 2, "admin": 3}))
    return capsys.readouterr().out


def test_announcement_has_addresses_and_an_example_that_connects(
    capsys: pytest.CaptureFixture[str], data_dir: Path
):
    text = announced(capsys, data_dir=str(data_dir))
    assert "websocket: ws://127.0.0.1:1/v1/ws\n" in text
    assert "tcp: tcp://127.0.0.1:2\n" in text
    assert f"data: {data_dir} (2 partitions)\n" in text
    token = text.split('token="')[1].split('"')[0]
    assert user_of(token, data_dir) == "alice"
    program = text.split("python - <<'END'\n")[1].split("END\n")[0]
    compile(program, "example", "exec")


@pytest.mark.parametrize(
    ("durability", "words"),
    [("fsync", "a power cut"), ("os", "a power cut or a crash of the kernel may lose")],
)
def test_announcement_says_what_an_ack_means(
    capsys: pytest.CaptureFixture[str], data_dir: Path, durability: str, words: str
):
    text = announced(capsys, data_dir=str(data_dir), durability=durability)
    [line] = [line for line in text.splitlines() if line.startswith("an ack means:")]
    assert f"durability {durability}" in line
    assert words in line


def test_announcement_signs_nothing_with_an_operator_s_secret(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    secret = tmp_path / "s"
    secret.write_bytes(b"s" * 32)
    text = announced(capsys, data_dir=str(tmp_path), jwt_secret_file=str(secret))
    assert "token" not in text
