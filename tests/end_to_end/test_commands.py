"""The commands and the options of who may in, against real servers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.deadline import until
from tests.support.plain_client import PlainClient, RefusedError, body_of
from tests.support.server import ROOT, Server, alive

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def spawn(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `imfast` with these arguments and these variables, and none of ours that it knows."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("IMFAST_")}
    return subprocess.Popen(
        [sys.executable, "-m", "imfast", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=inherited | (environment or {}),
        text=True,
    )


async def finish(process: subprocess.Popen[str], *, timeout: float = 20.0) -> tuple[str, str]:
    """Wait for a command's end without an error; return what it wrote."""
    out, err = await asyncio.to_thread(process.communicate, timeout=timeout)
    assert process.returncode == 0, f"{process.args} exited with {process.returncode}: {err}"
    return out, err


async def run(*arguments: str) -> str:
    return (await finish(spawn(*arguments)))[0]


async def refusal(*arguments: str) -> tuple[int, str]:
    """Run a command that fails; return its status and its message."""
    process = spawn(*arguments)
    out, err = await asyncio.to_thread(process.communicate, timeout=20.0)
    assert process.returncode, out
    assert "Traceback" not in err, err
    return process.returncode, err


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
async def test_what_one_command_sends_another_prints(shared: Server, scheme: str) -> None:
    name = f"cli-{scheme}"
    where = ("--url", shared.url(scheme), "--data-dir", str(shared.data))
    tail = spawn("tail", *where, "--as", f"{name}-bob", "--count", "2")
    status = await shared.status()
    assert status["ready"]
    # A device that never acknowledged starts from now: it must be there before the messages.
    assert tail.stdout is not None
    async with await PlainClient.connect(shared, f"{name}-probe") as probe:
        group = await probe.create_group("rendezvous", f"{name}-bob", f"{name}-alice")
        number = 0
        while tail.poll() is None:
            await probe.send({"group": group}, str(number), number)
            number += 1
            await asyncio.sleep(0.05)
    lines = [json.loads(line) for line in (await finish(tail))[0].splitlines()]
    assert len(lines) == 2
    assert {line["update"]["conversation"] for line in lines} == {group}
    assert lines[1]["update"]["seq"] == lines[0]["update"]["seq"] + 1

    send = ("send", *where, "--as", f"{name}-alice")
    first = await run(*send, "--key", "once", f"{name}-bob", "héllo")
    again = await run(*send, "--key", "once", f"{name}-bob", "héllo")
    assert first == again, "a key names one message"
    conversation, seq = first.split()
    to_group = await run(*send, "--group", group, "to all")
    assert to_group.split()[0] == group
    async with await PlainClient.connect(shared, f"{name}-bob") as bob:
        [message] = [row["message"] for row in await bob.history(conversation) if "message" in row]
        assert (message["seq"], message["text"]) == (int(seq), "héllo")
        assert message["from"] == f"{name}-alice"
        rows = await bob.history(group, page=100)
        assert body_of(rows[-1])["text"] == "to all"


async def test_token_from_the_command_is_good_for_its_user_and_time(shared: Server) -> None:
    data = ("--data-dir", str(shared.data))
    token = await run("token", "cli-carol", *data, "--ttl", "2s")
    assert token.count("\n") == 1, "just the token"
    claims = jwt.decode(token.strip(), options={"verify_signature": False})
    assert claims["sub"] == "cli-carol"
    assert claims["exp"] - claims["iat"] == 2
    url = ("--url", shared.url())
    other = await run("token", "cli-dan", *data)
    sent = await run("send", *url, "--token", other.strip(), "cli-carol", "hi")
    assert re.fullmatch(r"d\.\S+ 1\n", sent)
    status, message = await refusal("send", *url, "--token", other.strip()[:-3], "cli-carol", "hi")
    assert status == 1
    assert "token" in message.lower()
    await until(lambda: time.time() > claims["exp"], "the token's end")
    status, message = await refusal("send", *url, "--token", token.strip(), "cli-dan", "hi")
    assert status == 1
    assert "expired" in message.lower()


async def test_commands_say_what_is_missing(shared: Server, tmp_path: Path) -> None:
    # Nobody listens on port 1; it takes the client a while to give up.
    where = ("--url", "ws://127.0.0.1:1", "--data-dir", str(shared.data))
    nobody = asyncio.create_task(refusal("send", *where, "--as", "alice", "bob", "hi"))
    status, message = await refusal("send", "--url", shared.url(), "bob", "hi")
    assert status == 2
    assert "--token" in message
    status, message = await refusal("token", "alice", "--data-dir", str(tmp_path))
    assert status != 0
    assert str(tmp_path) in message
    status, message = await nobody
    assert status == 1
    assert message.strip(), "it says what is wrong"


async def test_config_show_tells_values_and_where_they_come_from(tmp_path: Path) -> None:
    file = tmp_path / "imfast.toml"
    file.write_text("heartbeat_s = 7\ndrain_s = 3\n")
    arguments = ("config", "show", "--config", str(file), "--drain-s", "4")
    out, _ = await finish(spawn(*arguments, environment={"IMFAST_WORKERS": "3"}))
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in out.splitlines()}
    assert rows["heartbeat_s"][0].startswith("7")
    assert str(file) in rows["heartbeat_s"][1]
    assert rows["drain_s"][0].startswith("4")
    assert "--drain-s" in rows["drain_s"][1]
    assert rows["workers"] == ["3", "environment IMFAST_WORKERS"]
    assert "default" in rows["durability"][1]


async def test_version_names_version_revision_and_kind_of_build() -> None:
    text = await run("--version")
    assert re.fullmatch(r"imfast \d+\.\d+\.\d+\S* \(git \S+, (release|debug)\)\n", text), text


def private_keys() -> dict[str, Callable[[], PrivateKey]]:
    return {
        "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
async def test_server_that_knows_a_public_key_takes_its_issuers_tokens_alone(
    tmp_path: Path, algorithm: str
) -> None:
    key, stranger = (private_keys()[algorithm]() for _ in range(2))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    file = tmp_path / "public.pem"
    file.write_bytes(public)
    now = int(time.time())
    claims = {"sub": "alice", "iat": now, "exp": now + 600}
    flags = ("--jwt-algorithm", algorithm, "--jwt-public-key-file", str(file))
    async with Server(tmp_path, *flags) as server:
        token = jwt.encode(claims, key, algorithm)
        async with await PlainClient.connect(server, "alice", token=token) as alice:
            assert (await alice.send({"user": "bob"}, "k", 1))["seq"] == 1
            later = jwt.encode({**claims, "exp": now + 6000}, key, algorithm)
            reply = await alice.request("refresh", {"token": later})
            assert reply["refreshed"]["expiresAtMs"] == (now + 6000) * 1000
        # The classic: the public key, which everybody has, taken for a shared secret.
        confused = forge_hs256(claims, public)
        for bad in (jwt.encode(claims, stranger, algorithm), confused):
            with pytest.raises(RefusedError) as refused:
                await PlainClient.connect(server, "alice", token=bad)
            assert refused.value.name == "token_invalid"
        status, message = await refusal(
            "token", "alice", "--data-dir", str(server.data), *flags[:2]
        )
        assert status != 0
        assert "jwt_" in message or "No such option" in message


def forge_hs256(claims: dict[str, Any], public: bytes) -> str:
    """Sign with a public key as if it were a secret; PyJWT itself refuses to."""
    import base64
    import hashlib
    import hmac

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    signed = part(b'{"alg":"HS256","typ":"JWT"}') + "." + part(json.dumps(claims).encode())
    return signed + "." + part(hmac.digest(public, signed.encode(), hashlib.sha256))


async def test_session_is_told_before_its_token_ends_and_refresh_keeps_it(shared: Server) -> None:
    token = (await run("token", "expiring", "--data-dir", str(shared.data), "--ttl", "4s")).strip()
    end_ms = jwt.decode(token, options={"verify_signature": False})["exp"] * 1000
    first, second = [
        await PlainClient.connect(shared, "expiring", token=token, device=device)
        for device in ("first", "second")
    ]
    async with first, second:
        for client in (first, second):
            await client.wait(
                lambda client=client: [one for one in client.pushes if "tokenExpiring" in one],
                "tokenExpiring",
                timeout=4,
            )
            [told] = [one["tokenExpiring"] for one in client.pushes if "tokenExpiring" in one]
            assert told == {"expiresAtMs": end_ms}
            assert not client.closed.is_set(), "it is told while it still may act on it"
        new = await shared.token("expiring", "--ttl", "1h")
        reply = await second.request("refresh", {"token": new})
        assert reply["refreshed"]["expiresAtMs"] > end_ms
        assert await first.wait_closed(timeout=10) == 4001
        assert time.time() * 1000 >= end_ms
        await second.request("ping", {})
        assert [list(one) for one in second.pushes].count(["tokenExpiring"]) == 1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def origins(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that pages of two origins may use."""
    flags = ("--allowed-origins", "https://chat.example,https://other.example:8443")
    async with Server(tmp_path_factory.mktemp("origins"), *flags, workers=1) as server:
        yield server


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("https://chat.example", True),
        ("https://other.example:8443", True),
        ("https://evil.example", False),
        ("https://chat.example.evil.example", False),
        ("http://chat.example", False),
        ("https://chat.example:444", False),
        ("null", False),
    ],
)
async def test_pages_of_allowed_origins_alone_may_connect(
    origins: Server, origin: str | None, allowed: bool
) -> None:
    url = f"ws://127.0.0.1:{origins.ready.http}/v1/ws"
    if allowed:
        async with connect(url, origin=origin, proxy=None):
            return
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, origin=origin, proxy=None)
    assert refused.value.response.status_code == 403


UNAUTHENTICATED = 10


class Strangers:
    """Connections that do not say who they are, numbered, and in which order they ended."""

    def __init__(self, server: Server, stack: AsyncExitStack) -> None:
        self._server = server
        self._stack = stack
        self.websockets: list[PlainClient] = []
        self.count = 0
        self.ended: list[int] = []

    async def one_more(self) -> None:
        """Every other one upgrades first: a WebSocket without a token is a stranger too."""
        number = self.count
        self.count += 1
        if number % 2:
            client = await PlainClient.dial(self._server)
            self.websockets.append(await self._stack.enter_async_context(client))
            end = asyncio.create_task(client.closed.wait())
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._server.ready.http)
            self._stack.callback(writer.close)
            end = asyncio.create_task(gone(reader))
        self._stack.callback(end.cancel)
        end.add_done_callback(lambda _: self.ended.append(number))

    async def expect(self, ended: int) -> None:
        """So many have ended: the oldest, in their order, and no others."""
        await until(lambda: len(self.ended) >= ended, f"{ended} ends, not {self.ended}", timeout=5)
        assert self.ended == list(range(ended))


async def test_stranger_too_many_costs_the_oldest_stranger_its_place(directory: Path) -> None:
    flags = ("--unauthenticated-max", str(UNAUTHENTICATED), "--authenticate-timeout-s", "30s")
    async with Server(directory, *flags, workers=1) as server, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(await PlainClient.connect(server, "alice"))
        strangers = Strangers(server, stack)
        for number in range(UNAUTHENTICATED + 5):
            # One listener hands connections over in the order in which they came.
            await strangers.one_more()
            await strangers.expect(max(0, number + 1 - UNAUTHENTICATED))
        await alice.request("ping", {})

        # Whoever comes with a bad token costs a place as well, and then gives it back.
        for _ in range(3):
            with pytest.raises(RefusedError):
                await PlainClient.connect(server, "mallory", token="bad")
        await strangers.expect(6)
        await strangers.one_more()
        await strangers.expect(6)
        await strangers.one_more()
        await strangers.expect(7)

        # A good token is let in, at the cost of the next oldest.
        token = await server.token("bob")
        async with await PlainClient.connect(server, "bob", token=token) as bob:
            await bob.request("ping", {})
        await strangers.expect(8)
        # One of those that stayed may still say who it is, and others may take its place.
        await strangers.websockets[-1].request("connect", {"token": token, "device": "late"})
        await strangers.one_more()
        await strangers.one_more()
        await strangers.expect(8)
        await strangers.one_more()
        await strangers.expect(9)


async def gone(reader: asyncio.StreamReader) -> None:
    """Wait for the end of a connection."""
    try:
        while await reader.read(4096):
            pass
    except ConnectionError:
        pass


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS])
async def test_worker_that_faults_is_replaced_and_the_other_goes_on(
    directory: Path, number: signal.Signals
) -> None:
    async with Server(directory) as server, AsyncExitStack() as stack:
        alice, bob = [
            await stack.enter_async_context(await PlainClient.connect(server, user, worker=index))
            for index, user in enumerate(("alice", "bob"))
        ]
        sent = await alice.send({"user": "bob"}, "before", "before")
        dead = server.worker(1)
        os.kill(dead.pid, number)
        await bob.wait_closed()
        ready = await server.restarted()
        assert not alive(dead.pid)
        assert ready.workers[1].epoch > dead.epoch
        assert ready.workers[0] == server.worker(0)
        assert not alice.closed.is_set()
        assert (await alice.send({"user": "bob"}, "after", "after"))["seq"] == sent["seq"] + 1
        again = await stack.enter_async_context(
            await PlainClient.connect(server, "bob", worker=1, sync=bob.sync)
        )
        await again.wait_seq(sent["conversation"], sent["seq"] + 1)
        status = await server.status()
        assert [worker["restarts"] for worker in status["workers"]] == [0, 1]
