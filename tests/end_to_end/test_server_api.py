"""The server API: what a backend does with a key, seen by real clients."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from tests.support.api_key import Backend, backend, key_command
from tests.support.plain_client import PlainClient, body_of
from tests.support.server import Server


async def test_key_is_stored_as_a_hash_and_heeded_at_once(shared: Server) -> None:
    key = await key_command(shared, "create", "shop", "--scope", "stats")
    secret = key.rpartition(".")[2]
    for path in shared.data.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    assert (shared.data / "api-keys.json").stat().st_mode & 0o077 == 0
    key_id = key.split(".")[1]
    assert key_id in await key_command(shared, "list")
    async with Backend(shared, key, keep=True) as shop:
        assert (await shop("stats", {}))["workers"] == 2
        message = {"to": {"user": "a"}, "text": "x"}
        assert await shop.refusal("send", message) == (403, "not_allowed")
        renewed = await key_command(shared, "rotate", key_id, "--grace", "0s")
        assert await shop.refusal("stats", {}) == (401, "token_invalid")
    async with Backend(shared, renewed, keep=True) as shop:
        await shop("stats", {})
        await key_command(shared, "revoke", renewed.split(".")[1])
        assert await shop.refusal("stats", {}) == (401, "token_invalid")
    for bad in ("imk", "imk.x.y", key + "x", await shared.token("alice")):
        async with Backend(shared, bad) as stranger:
            assert await stranger.refusal("stats", {}) == (401, "token_invalid")
    async with httpx.AsyncClient(trust_env=False) as nobody:
        answer = await nobody.post(f"{shared.url('http')}/v1/server/stats", json={})
        assert answer.status_code == 401


async def test_rotated_key_holds_for_its_grace_beside_the_new_one(shared: Server) -> None:
    key = await key_command(shared, "create", "graceful", "--scope", "stats", "--ttl", "1h")
    new = await key_command(shared, "rotate", key.split(".")[1], "--grace", "10m")
    for text in (key, new):
        async with Backend(shared, text) as ask:
            await ask("stats", {})


async def test_message_of_a_user_and_of_the_system_reach_a_client(shared: Server) -> None:
    async with backend(shared) as ask, await PlainClient.connect(shared, "api-bob") as bob:
        text = {"big": 12345678901234567890, "x": 1.50}
        said = '{"big":12345678901234567890,"x":1.50}'
        raw = f'{{"from":"api-alice","to":{{"user":"api-bob"}},"json":{said}}}'
        headers = {"Content-Type": "application/json", "Idempotency-Key": '"k-1"'}
        for duplicate in (False, True):
            answer = await ask.client.post("/v1/server/send", content=raw, headers=headers)
            assert answer.status_code == 200, answer.text
            assert answer.json().get("duplicate", False) is duplicate
        sent = answer.json()
        await bob.wait_rows(sent["conversation"], 1)
        [row] = bob.rows(sent["conversation"])
        assert (body_of(row)["from"], body_of(row)["json"]) == ("api-alice", text)
        other = {"from": "api-alice", "to": {"user": "api-bob"}, "text": "other", "key": "k-1"}
        assert await ask.refusal("send", other) == (409, "key_conflict")
        assert await ask.refusal("send", other, Idempotency_Key="k-2") == (400, "invalid_argument")
        system = await ask("send", {"to": {"user": "api-bob"}, "text": "from us"})
        await bob.wait_rows(system["conversation"], 1)
        [row] = bob.rows(system["conversation"])
        assert body_of(row)["from"] == "system"


async def test_sending_as_a_user_asks_for_the_users_rights_and_the_system_needs_none(
    shared: Server,
) -> None:
    async with backend(shared) as ask, await PlainClient.connect(shared, "right-owner") as owner:
        team = await owner.create_group("team")
        message = {"to": {"group": team}, "text": "x"}
        stranger = {**message, "from": "right-stranger"}
        assert await ask.refusal("send", stranger) == (404, "not_a_member")
        sent = await ask("send", message)
        await owner.wait_seq(team, sent["seq"])
        assert body_of(owner.rows(team)[-1])["from"] == "system"


async def test_batch_of_500_has_a_result_for_each_and_is_repeated_without_effect(
    shared: Server,
) -> None:
    async with backend(shared) as ask, await PlainClient.connect(shared, "batch-u7") as reader:
        items: list[dict[str, Any]] = [
            {"from": "batch-a", "to": {"user": f"batch-u{n % 50}"}, "text": str(n)}
            for n in range(500)
        ]
        items[3] = {"from": "batch-a", "to": {"group": "g.nowhere"}, "text": "x"}
        items[4] = {"from": "batch-a", "to": {"user": "batch-b"}}
        items[5] = {"to": {"user": "batch-b"}, "text": "of the system", "key": "own"}
        first = (await ask("batch", {"items": items}, Idempotency_Key="b1"))["items"]
        assert len(first) == 500
        assert first[3]["error"]["name"] == "not_a_member"
        assert first[4]["error"]["name"] == "invalid_argument"
        assert all("sent" in one for index, one in enumerate(first) if index not in (3, 4))
        again = (await ask("batch", {"items": items}, Idempotency_Key="b1"))["items"]
        for one, repeated in zip(first, again, strict=True):
            if "sent" in one:
                assert repeated["sent"] == {**one["sent"], "duplicate": True}
        of_seven = first[7]["sent"]["conversation"]
        await reader.wait_rows(of_seven, 10)
        texts = [body_of(row)["text"] for row in reader.rows(of_seven)]
        assert texts == [str(n) for n in range(7, 500, 50)]
        assert await ask.refusal("batch", {"items": [*items, items[0]]}) == (
            400,
            "invalid_argument",
        )
        assert await ask.refusal("batch", {"items": []}) == (400, "invalid_argument")
        assert await ask.refusal("batch", {"items": [1]}) == (400, "invalid_argument")


async def test_broadcast_to_all_is_one_record_that_reaches_the_living_and_the_absent(
    directory: Any,
) -> None:
    async with Server(directory) as server, backend(server) as ask:
        clients = [
            await PlainClient.connect(server, f"u{index}", worker=index % 2) for index in range(6)
        ]
        for client in clients:
            await client.caught_up.wait()
        away = await PlainClient.connect(server, "away")
        await away.caught_up.wait()
        token = away.sync
        await away.close()
        before = (await ask("stats", {}))["counters"]["commands"]
        sent = await ask("broadcast", {"to": {"all": True}, "text": "hello, all", "key": "b"})
        assert (sent["conversation"], sent["seq"]) == ("b.all", 1)
        again = await ask("broadcast", {"to": {"all": True}, "text": "hello, all", "key": "b"})
        assert again == {**sent, "duplicate": True}
        # The record and its repetition, whatever the number of users.
        assert (await ask("stats", {}))["counters"]["commands"] == before + 2
        for client in clients:
            await client.wait_rows("b.all", 1)
        async with await PlainClient.connect(server, "away", sync=token) as back:
            await back.wait_rows("b.all", 1)
            [row] = back.rows("b.all")
            assert (body_of(row)["text"], body_of(row)["from"]) == ("hello, all", "system")
            await back.request("ack", {"conversation": "b.all", "seq": 1})
            await back.request("read", {"conversation": "b.all", "seq": 1})
            await back.request("history", {"conversation": "b.all"})
        assert (await ask("users/unread", {"user": "away"})).get("unread", 0) == 0
        assert (await ask("users/unread", {"user": "u1"}))["unread"] == 1
        reply = clients[0].request("send", {"to": {"conversation": "b.all"}, "text": "no"})
        assert await _refused(reply) == "not_allowed"
        for client in clients:
            assert len(client.rows("b.all")) == 1
            await client.close()
        await server.kill_all()
        await server.start()
        async with await PlainClient.connect(server, "away", sync=token) as back:
            await back.wait_rows("b.all", 1)


async def test_broadcast_to_a_list_reaches_those_on_it_and_nobody_answers_there(
    shared: Server,
) -> None:
    async with backend(shared) as ask, await PlainClient.connect(shared, "list-1") as one:
        users = [f"list-{n}" for n in range(1000)]
        made = await ask("lists/create", {"key": "vips", "users": users, "title": "VIPs"})
        assert await ask("lists/create", {"key": "vips", "users": users, "title": "VIPs"}) == made
        conversation = made["conversation"]
        sent = await ask("broadcast", {"to": {"list": conversation}, "text": "to some"})
        await one.wait_seq(conversation, sent["seq"])
        reply = one.request("send", {"to": {"group": conversation}, "text": "me too"})
        assert await _refused(reply) == "not_allowed"
        await ask("lists/remove", {"conversation": conversation, "users": ["list-1"]})
        later = await ask("broadcast", {"to": {"list": conversation}, "text": "to others"})
        ad_hoc = {"to": {"users": ["list-2", "list-1"]}, "text": "to two"}
        first = await ask("broadcast", ad_hoc)
        second = await ask("broadcast", ad_hoc)
        assert second["conversation"] == first["conversation"] != conversation
        assert second["seq"] == first["seq"] + 1
        await one.wait_seq(first["conversation"], second["seq"])
        assert later["seq"] not in [body_of(row)["seq"] for row in one.rows(conversation)]
        for wrong in ({}, {"all": True, "list": conversation}, {"list": "g.x"}, {"users": []}):
            said = {"to": wrong, "text": "x"}
            assert await ask.refusal("broadcast", said) == (400, "invalid_argument")


async def test_groups_in_full(shared: Server) -> None:
    async with backend(shared) as ask:
        made = await ask(
            "groups/create",
            {"owner": "full-owner", "key": "g", "members": ["full-a"], "open": True},
        )
        group = made["conversation"]
        users = [f"full-{n:04}" for n in range(1000)]
        added = await ask("groups/add", {"conversation": group, "users": users})
        again = await ask("groups/add", {"conversation": group, "users": users, "by": "full-owner"})
        assert again["seq"] == added["seq"]
        found: list[str] = []
        after = ""
        while True:
            page = await ask(
                "groups/members", {"conversation": group, "after": after, "limit": 200}
            )
            found += [member["user"] for member in page["members"]]
            if not page.get("more"):
                break
            after = found[-1]
        assert sorted(found) == sorted(["full-owner", "full-a", *users])
        too_many = {"conversation": group, "users": [f"more-{n}" for n in range(1001)]}
        assert await ask.refusal("groups/add", too_many) == (400, "too_many_members")
        by_member = {"conversation": group, "users": ["x"], "by": "full-a"}
        assert await ask.refusal("groups/add", by_member) == (403, "not_allowed")
        await ask("groups/leave", {"conversation": group, "user": "full-0001"})
        await ask("groups/join", {"conversation": group, "user": "full-new"})
        await ask("groups/remove", {"conversation": group, "users": ["full-owner", "full-0000"]})
        page = await ask("groups/members", {"conversation": group, "limit": 5})
        assert page["members"][0] == {**page["members"][0], "user": "full-a", "role": "owner"}
        events = await ask("history", {"conversation": group, "after": 0})
        kinds = [item["event"]["type"] for item in events["items"]]
        assert kinds == ["created", "joined", "left", "joined", "removed"]
        assert await ask.refusal("history", {"conversation": group, "by": "nobody"}) == (
            404,
            "not_a_member",
        )
        nowhere = {"conversation": "g.nowhere", "users": ["x"]}
        assert await ask.refusal("groups/add", nowhere) == (404, "not_a_member")


async def test_history_of_any_conversation_or_of_what_a_user_may_see(shared: Server) -> None:
    async with backend(shared) as ask:
        sent = [
            await ask("send", {"from": "hist-a", "to": {"user": "hist-b"}, "text": str(n)})
            for n in range(5)
        ]
        where = {"conversation": sent[0]["conversation"]}
        page = await ask("history", {**where, "after": 1, "limit": 2})
        assert [item["message"]["text"] for item in page["items"]] == ["1", "2"]
        assert page["more"] is True
        seen = await ask("history", {**where, "by": "hist-b"})
        assert len(seen["items"]) == 5
        listed = await ask("users/conversations", {"user": "hist-b"})
        assert where["conversation"] in [item["conversation"] for item in listed["items"]]
        unread = await ask("users/unread", {"user": "hist-b"})
        assert {**where, "unread": 5} in unread["conversations"]


async def test_requests_that_are_none_get_a_problem(shared: Server) -> None:
    async with backend(shared) as ask:
        assert await ask.refusal("nothing", {}) == (404, "unsupported")
        for body in (b"", b"[]", b"{", b"\xff", b'{"to":' * 2000, b'{"to":{}}', b'"x"'):
            headers = {"Content-Type": "application/json"}
            for path in ("send", "batch", "broadcast", "history", "users/create"):
                url = f"/v1/server/{path}"
                answer = await ask.client.post(url, content=body, headers=headers)
                assert 400 <= answer.status_code < 500, (path, body, answer.text)
        answer = await ask.client.get("/v1/server/send")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST, OPTIONS")
        assert await ask.refusal("users/create", {"user": "system"}) == (400, "invalid_argument")


async def test_many_backends_at_a_time_are_all_answered(shared: Server) -> None:
    async with backend(shared, keep=True) as ask:
        calls = [
            ask("send", {"from": f"many-{n}", "to": {"user": "many-target"}, "text": str(n)})
            for n in range(100)
        ]
        answers = await asyncio.gather(*calls)
        assert len({json.dumps(answer, sort_keys=True) for answer in answers}) == 100


async def _refused(reply: Any) -> str:
    from tests.support.plain_client import RefusedError

    try:
        await reply
    except RefusedError as error:
        return error.name
    raise AssertionError("it was granted")
