"""Tokens called back, sessions ended, users disabled: on all workers at once, and for good."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.support.api_key import backend
from tests.support.event_stream import EventStream
from tests.support.plain_client import PlainClient, RefusedError
from tests.support.server import Server


async def connect_code(server: Server, token: str) -> str:
    """What connects with a token are refused with, on every worker."""
    # A refused connect closes, and does not say which worker it was: so all are asked, often.
    names = set()
    for _ in range(8):
        client = await PlainClient.dial(server)
        try:
            await client.request("connect", {"token": token})
        except RefusedError as error:
            names.add(error.name)
        else:
            names.add("connected")
        finally:
            await client.close()
    assert len(names) == 1, names
    return names.pop()


async def test_revoked_user_is_out_everywhere_and_stays_out(directory: Path) -> None:
    async with Server(directory) as server, backend(server) as ask:
        made = await ask("users/create", {"user": "mallory", "ttlMs": 3_600_000})
        token = made["token"]
        clients = [
            await PlainClient.connect(server, "mallory", token=token, worker=index)
            for index in (0, 1)
        ]
        stream = await EventStream.open(server, token=token)
        sessions = (await ask("users/sessions", {"user": "mallory"}))["sessions"]
        assert sorted(one["transport"] for one in sessions) == ["events", "websocket", "websocket"]
        async with httpx.AsyncClient(base_url=server.url("http"), trust_env=False) as kept:
            headers = {"Authorization": f"Bearer {token}"}
            answer = await kept.post("/v1/ping", json={}, headers=headers)
            assert answer.status_code == 200
            ticket = (await kept.post("/v1/ticket", json={}, headers=headers)).json()["ticket"]
            ended = await ask("users/revoke", {"user": "mallory"})
            assert ended["sessions"] == 3
            # The kept connection knew the token already.
            answer = await kept.post("/v1/ping", json={}, headers=headers)
            assert (answer.status_code, answer.json()["reason"]) == (401, "token_revoked")
            answer = await kept.get("/v1/events", params={"ticket": ticket})
            assert answer.status_code == 401
        assert [await client.wait_closed() for client in clients] == [4503, 4503]
        await stream.ended.wait()
        stream.connection.writer.close()
        assert await connect_code(server, token) == "token_revoked"
        await server.kill_all()
        await server.start()
        assert await connect_code(server, token) == "token_revoked"
        # A token of after it counts at once.
        async with backend(server) as asking:
            new = (await asking("users/create", {"user": "mallory"}))["token"]
        async with await PlainClient.connect(server, "mallory", token=new):
            pass


async def test_revoked_session_takes_its_token_along_and_no_other(shared: Server) -> None:
    async with backend(shared) as ask:
        tokens = [
            (await ask("users/create", {"user": "twice", "ttlMs": ttl_ms}))["token"]
            for ttl_ms in (3_600_000, 7_200_000)
        ]
        first = await PlainClient.connect(shared, "twice", token=tokens[0], worker=0, device="a")
        async with await PlainClient.connect(shared, "twice", token=tokens[1], worker=1) as other:
            sessions = (await ask("users/sessions", {"user": "twice"}))["sessions"]
            [name] = [one["session"] for one in sessions if one["device"] == "a"]
            ended = await ask("users/revoke", {"user": "twice", "session": name})
            assert ended["sessions"] == 1
            assert await first.wait_closed() == 4503
            assert await connect_code(shared, tokens[0]) == "token_revoked"
            await other.request("ping", {})
            async with await PlainClient.connect(shared, "twice", token=tokens[1]):
                pass


async def test_disconnected_sessions_may_come_back(shared: Server) -> None:
    async with backend(shared) as ask:
        token = (await ask("users/create", {"user": "cut"}))["token"]
        clients = [
            await PlainClient.connect(shared, "cut", token=token, worker=index, device=str(index))
            for index in (0, 1)
        ]
        sessions = (await ask("users/sessions", {"user": "cut"}))["sessions"]
        [name] = [one["session"] for one in sessions if one["device"] == "0"]
        one = await ask("users/disconnect", {"user": "cut", "session": name})
        assert one["sessions"] == 1
        assert await clients[0].wait_closed() == 4000
        assert (await ask("users/disconnect", {"user": "cut"}))["sessions"] == 1
        assert await clients[1].wait_closed() == 4000
        assert "sessions" not in await ask("users/disconnect", {"user": "cut"})
        async with await PlainClient.connect(shared, "cut", token=token):
            pass


async def test_disabled_user_gets_no_token_and_is_not_let_in(shared: Server) -> None:
    async with backend(shared) as ask:
        token = (await ask("users/create", {"user": "off"}))["token"]
        client = await PlainClient.connect(shared, "off", token=token)
        assert await ask("users/disable", {"user": "off"}) == {"user": "off", "disabled": True}
        assert await client.wait_closed() == 4503
        assert await ask.refusal("users/create", {"user": "off"}) == (403, "not_allowed")
        assert await connect_code(shared, token) == "token_revoked"
        await ask("users/enable", {"user": "off"})
        assert await connect_code(shared, token) == "token_revoked"
        new = (await ask("users/create", {"user": "off"}))["token"]
        async with await PlainClient.connect(shared, "off", token=new):
            pass


async def test_worker_that_starts_later_knows_what_was_called_back(directory: Path) -> None:
    async with Server(directory) as server, backend(server) as ask:
        token = (await ask("users/create", {"user": "late"}))["token"]
        await ask("users/revoke", {"user": "late"})
        server.kill_worker(0)
        server.kill_worker(1)
        await server.restarted()
        assert await connect_code(server, token) == "token_revoked"


async def test_no_client_is_the_system(shared: Server) -> None:
    assert await connect_code(shared, await shared.token("system")) == "token_invalid"
