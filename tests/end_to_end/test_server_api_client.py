"""`imfast.ServerAPI` and `imfast.AsyncServerAPI`, and the fixture that other projects test with."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import imfast
from imfast.definitions.verbs import Target
from imfast.server_api import AsyncServerAPI, ServerAPI, ServerAPIError
from tests.support.api_key import key_command
from tests.support.plain_client import PlainClient, body_of
from tests.support.server import Server


def methods(kind: type) -> dict[str, inspect.Signature]:
    """Public methods that ask something."""
    return {
        name: inspect.signature(method)
        for name, method in vars(kind).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }


def test_both_clients_are_one_but_for_the_waiting() -> None:
    assert imfast.ServerAPI is ServerAPI
    assert imfast.AsyncServerAPI is AsyncServerAPI
    assert methods(ServerAPI) == methods(AsyncServerAPI)


async def test_async_client_does_what_a_backend_needs(shared: Server) -> None:
    key = await key_command(shared, "create", "async", "--scope", "all")
    async with AsyncServerAPI(shared.url("http"), key=key) as api:
        made = await api.create_user("aio-bob", ttl_s=60)
        async with await PlainClient.connect(shared, "aio-bob", token=made.token) as bob:
            sent = await api.send("aio-bob", text="hi", sender="aio-alice", key="k")
            assert (await api.send("aio-bob", text="hi", sender="aio-alice", key="k")).duplicate
            await bob.wait_rows(sent.conversation, 1)
            assert body_of(bob.rows(sent.conversation)[0])["text"] == "hi"
            group = await api.create_group("aio-alice", "team", ["aio-bob"], title="Team")
            await api.add_members(group, ["aio-carol"])
            assert [m.user for m in (await api.members(group)).members][-1] == "aio-carol"
            await api.remove_members(group, ["aio-carol"])
            await api.leave(group, "aio-bob")
            results = await api.send_batch(
                [
                    api.message(Target(group=group), json={"n": 1}, sender="aio-alice"),
                    api.message(Target(group=group), text="no", sender="aio-bob"),
                ]
            )
            assert results[0].sent is not None
            assert results[0].sent.seq == 5
            assert results[1].error is not None
            assert results[1].error.name == "not_a_member"
            page = await api.history(group, after=4)
            assert page.items[0].message is not None
            assert page.items[0].message.json == {"n": 1}
            named = await api.create_list("aio-list", ["aio-bob"])
            await api.broadcast(to_list=named, text="to the list")
            await api.broadcast(users=["aio-bob"], text="to him")
            await api.broadcast(to_all=True, text="to all")
            await bob.wait_rows("b.all", 1)
            assert (await api.unread("aio-bob")).unread >= 3
            assert len((await api.conversations("aio-bob")).items) >= 3
            [session] = await api.sessions("aio-bob")
            assert session.transport == "websocket"
            assert (await api.disconnect("aio-bob", session=session.session)).sessions == 1
            assert await bob.wait_closed() == 4000
        assert (await api.disable_user("aio-bob")).disabled
        with pytest.raises(ServerAPIError) as refused:
            await api.create_user("aio-bob")
        assert (refused.value.reason, refused.value.status) == ("not_allowed", 403)
        assert not (await api.enable_user("aio-bob")).disabled
        assert (await api.stats()).workers == 2


async def test_sync_client_is_shared_by_threads(shared: Server) -> None:
    key = await key_command(shared, "create", "sync", "--scope", "all")
    seqs: list[int] = []
    with ServerAPI(shared.url("http"), key=key) as api:

        def work(number: int) -> None:
            for at in range(5):
                seqs.append(api.send("sync-b", text=f"{number} {at}", sender="sync-a").seq)

        def all_of_them() -> None:
            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        await asyncio.to_thread(all_of_them)
        assert sorted(seqs) == list(range(1, 21))
        with pytest.raises(ServerAPIError, match="not_a_member"):
            await asyncio.to_thread(api.members, "g.nowhere")
    with pytest.raises(ValueError, match="a URL like"):
        ServerAPI("ws://x", key=key)


async def test_repeats_through_a_restart_have_one_effect(directory: Path) -> None:
    async with Server(directory) as server:
        key = await key_command(server, "create", "retry", "--scope", "send")
        async with AsyncServerAPI(server.url("http"), key=key, retries=40) as api:
            first = await api.send("retry-b", text="0", sender="retry-a")
            # Both workers die while these are on their way; the ports stay.
            sends = [
                asyncio.create_task(api.send("retry-b", text=str(n), sender="retry-a"))
                for n in range(1, 20)
            ]
            await asyncio.sleep(0)
            server.kill_worker(0)
            server.kill_worker(1)
            answers = [first, *await asyncio.gather(*sends)]
            assert sorted(one.seq for one in answers) == list(range(1, 21))
        await server.restarted()


OUTSIDE = """
import asyncio
import imfast
from imfast.testing import server, server_fixture

imfast_server = server_fixture()


def test_message_arrives(imfast_server):
    async def talk():
        token = imfast_server.token("bob")
        async with imfast.connect(imfast_server.url, token=token) as bob:
            async with imfast_server.async_api() as api:
                await api.send("bob", text="hi")
            async for update in bob:
                return update.text

    assert asyncio.run(asyncio.wait_for(talk(), 20)) == "hi"


def test_it_is_the_same_server(imfast_server):
    with imfast_server.api() as api:
        assert api.history(api.send("bob", text="again").conversation).items
"""


async def test_fixture_works_outside_of_this_tree(tmp_path: Path) -> None:
    (tmp_path / "test_outside.py").write_text(OUTSIDE)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_outside.py"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert b"2 passed" in output
