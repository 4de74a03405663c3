"""The demonstration in a real browser: two tabs, with and without WebSockets, and a network cut."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.chromium import Chromium, Tab, chromium_program
from tests.support.cut_proxy import CutProxy
from tests.support.server import Server

LIVE = "document.querySelector('#state')?.dataset.state === 'live'"
TRANSPORT = "document.querySelector('#state').dataset.transport"
SEEN = (
    "[...document.querySelectorAll('#log li[data-seq]')]"
    ".map(one => [+one.dataset.seq, one.firstChild.textContent])"
)


async def say(tab: Tab, text: str) -> None:
    await tab.run(
        f"document.querySelector('#text').value = {text!r};"
        "document.querySelector('#say').requestSubmit()"
    )


async def wait_seen(tab: Tab, texts: list[str]) -> None:
    wanted = [[seq, text] for seq, text in enumerate(texts, 1)]
    shown = f"JSON.stringify({SEEN})"
    await tab.wait(f"{shown} === JSON.stringify({wanted})", f"{wanted} in this order, once")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("websockets", [True, False], ids=["websocket", "blocked"])
async def test_two_tabs_chat_through_a_cut_of_the_network(
    directory: Path, tmp_path: Path, websockets: bool
) -> None:
    chromium_program()
    async with (
        Server(directory) as server,
        CutProxy(server.ready.http, websockets=websockets) as proxy,
        Chromium(tmp_path / "profile") as browser,
    ):
        base = f"http://127.0.0.1:{proxy.port}/demo"
        alice = await browser.tab(f"{base}?user=alice&peer=bob")
        bob = await browser.tab(f"{base}?user=bob&peer=alice")
        for tab in (alice, bob):
            await tab.wait(LIVE, "a live session")
            expected = "WebSocket" if websockets else "EventSource"
            assert await tab.run(TRANSPORT) == expected
        assert (proxy.refused > 0) is not websockets
        said = ["hello bob", "hello alice"]
        await say(alice, said[0])
        await wait_seen(bob, said[:1])
        await say(bob, said[1])
        await wait_seen(alice, said)

        await proxy.cut()
        for tab in (alice, bob):
            await tab.wait(f"!({LIVE})", "the loss of the connection")
        await say(alice, "said into the cut")
        said.append("said into the cut")
        assert await alice.run("document.querySelectorAll('#log li.waiting').length") == 1
        await proxy.mend()
        for tab in (alice, bob):
            await tab.wait(LIVE, "a live session after the cut")
            await wait_seen(tab, said)
        await say(bob, "here again")
        said.append("here again")
        for tab in (alice, bob):
            await wait_seen(tab, said)


async def test_page_and_tokens_are_given_in_development_to_this_machine_alone(
    directory: Path,
) -> None:
    secret = directory.parent / "secret"
    secret.write_text("x" * 40)
    async with Server(directory) as server, httpx.AsyncClient(trust_env=False) as client:
        base = server.url("http")
        page = await client.get(f"{base}/demo")
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "http" not in page.text.replace("location.origin.replace(/^http/", "")
        assert (await client.head(f"{base}/demo")).content == b""
        given = await client.post(f"{base}/demo/token", json={"user": "alice"})
        bearer = {"Authorization": f"Bearer {given.json()['token']}"}
        assert (await client.post(f"{base}/v1/ping", json={}, headers=bearer)).status_code == 200
        for user in ("system", "", 7, None):
            answer = await client.post(f"{base}/demo/token", json={"user": user})
            assert answer.status_code == 400
        # A name that somebody else's page made to lead here.
        for path in ("/demo", "/demo/token"):
            rebound = {"Host": f"evil.example:{server.ready.http}"}
            ask = client.get if path == "/demo" else client.post
            assert (await ask(base + path, headers=rebound)).status_code == 404
    flags = ("--jwt-secret-file", str(secret))
    async with (
        Server(directory.with_name("production"), *flags) as server,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert (await client.get(f"{server.url('http')}/demo")).status_code == 404
        answer = await client.post(f"{server.url('http')}/demo/token", json={"user": "alice"})
        assert answer.status_code == 404
