"""Who may in: tokens that are wrong in every way, and those that run out."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio

from tests.support.plain_client import Frame, PlainClient, RefusedError
from tests.support.server import Server

SECRET = "a secret of the tests, long enough for every algorithm that they try"


def signed(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """Sign a token that is good unless `claims` say otherwise; None leaves a claim out."""
    now = int(time.time())
    payload = {"sub": "mallory", "iat": now, "exp": now + 600} | claims
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, secret, algorithm)


def forged(token: str, **claims: Any) -> str:
    """Change the claims of a token and keep its signature."""
    header, payload, signature = token.split(".")
    content = json.loads(base64.urlsafe_b64decode(payload + "=="))
    changed = base64.urlsafe_b64encode(json.dumps(content | claims).encode()).decode().rstrip("=")
    return f"{header}.{changed}.{signature}"


def unsigned() -> str:
    """A token that says itself that it has no signature."""
    return jwt.encode({"sub": "mallory", "exp": int(time.time()) + 600}, "", "none")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server whose secret, issuer and audience the tests know."""
    directory: Path = tmp_path_factory.mktemp("guarded")
    secret = directory / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    flags = ["--jwt-secret-file", str(secret)]
    flags += ["--jwt-issuer", "the issuer", "--jwt-audience", "the audience"]
    async with Server(directory, *flags) as server:
        yield server


def good(**claims: Any) -> str:
    return signed(**{"iss": "the issuer", "aud": "the audience"} | claims)


WRONG: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "no token at all": lambda: "hello",
    "two parts": lambda: "a.b",
    "not signed": unsigned,
    "signed with another secret": lambda: good(
        secret="another secret, as long as the one that the server has and more"
    ),
    "signed with another algorithm": lambda: good(algorithm="HS384"),
    "another user put in": lambda: forged(good(), sub="alice"),
    "a longer life put in": lambda: forged(good(exp=int(time.time()) - 60), exp=2**31),
    "another issuer": lambda: good(iss="someone else"),
    "no issuer": lambda: good(iss=None),
    "another audience": lambda: good(aud="others"),
    "no audience": lambda: good(aud=None),
    "no user": lambda: good(sub=None),
    "an empty user": lambda: good(sub=""),
    "a user with a line break": lambda: good(sub="a\nb"),
    "a user that is too long": lambda: good(sub="x" * 129),
    "no end": lambda: good(exp=None),
    "not yet good": lambda: good(nbf=int(time.time()) + 600),
}


@pytest.mark.parametrize("name", WRONG)
async def test_wrong_token_is_refused_for_good(guarded: Server, name: str) -> None:
    client = await PlainClient.dial(guarded)
    async with client:
        with pytest.raises(RefusedError) as refused:
            await client.request("connect", {"token": WRONG[name]()})
        assert refused.value.name in ("token_invalid", "invalid_argument")
        assert not refused.value.retryable
        code = await client.wait_closed(timeout=5)
        assert code is not None
        assert 4500 <= code <= 4999, "coming back with it is no use"


async def test_expired_token_is_refused_until_there_is_a_new_one(guarded: Server) -> None:
    client = await PlainClient.dial(guarded)
    async with client:
        with pytest.raises(RefusedError) as refused:
            await client.request("connect", {"token": good(exp=int(time.time()) - 1)})
        assert refused.value.name == "token_expired"
        code = await client.wait_closed(timeout=5)
        assert code is not None
        assert 4000 <= code <= 4499, "coming back with a new one helps"


async def test_good_token_is_taken_and_names_the_user(guarded: Server) -> None:
    async with await PlainClient.connect(guarded, "mallory", token=good()) as client:
        with pytest.raises(RefusedError) as refused:
            await client.request("connect", {"token": good()})
        assert refused.value.name == "already_connected"
        assert (await client.send({"user": "bob"}, "k", 1))["seq"] == 1


async def test_session_ends_with_its_token_and_lives_on_with_a_new_one(guarded: Server) -> None:
    end = int(time.time()) + 3
    first = await PlainClient.connect(guarded, "mallory", token=good(exp=end), device="first")
    second = await PlainClient.connect(guarded, "mallory", token=good(exp=end), device="second")
    async with first, second:
        reply = await second.request("refresh", {"token": good()})
        assert reply["refreshed"]["expiresAtMs"] > (end + 60) * 1000
        assert await first.wait_closed(timeout=10) == 4001
        assert time.time() >= end
        reply = await second.request("ping", {})
        assert reply["pong"]["serverTimeMs"] >= end * 1000


@pytest.mark.parametrize("token", [lambda: good(sub="alice"), lambda: forged(good(), exp=2**31)])
async def test_refresh_with_a_token_of_somebody_else_is_refused(
    guarded: Server, token: Callable[[], str]
) -> None:
    async with await PlainClient.connect(guarded, "mallory", token=good()) as client:
        with pytest.raises(RefusedError) as refused:
            await client.request("refresh", {"token": token()})
        assert refused.value.name == "token_invalid"


@pytest.mark.parametrize("verb", ["send", "history", "conversations", "group", "ack", "ping"])
async def test_nothing_is_answered_before_connect(guarded: Server, verb: str) -> None:
    bodies: dict[str, Frame] = {
        "send": {"to": {"user": "bob"}, "key": "k", "json": 1},
        "history": {"conversation": "d.x"},
        "group": {"create": {"key": "k"}},
        "ack": {"conversation": "d.x", "seq": 1},
    }
    async with await PlainClient.dial(guarded) as client:
        with pytest.raises(RefusedError) as refused:
            await client.request(verb, bodies.get(verb, {}))
        assert refused.value.name == "not_connected"
