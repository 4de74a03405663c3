"""A token in a cookie that no script can read, and pages that may not use it."""

from __future__ import annotations

import asyncio
import json
from http.cookies import SimpleCookie

import httpx

from tests.support.plain_client import PlainClient
from tests.support.raw_http import RawHttp
from tests.support.server import Server


async def set_cookie(client: httpx.AsyncClient, token: str, **headers: str) -> str:
    """Swap a token for a cookie; the `Set-Cookie` line."""
    bearer = {"Authorization": f"Bearer {token}", **headers}
    answer = await client.post("/v1/cookie", json={}, headers=bearer)
    assert (answer.status_code, answer.content) == (204, b"")
    return answer.headers["Set-Cookie"]


async def test_cookie_is_for_this_site_and_no_script(shared: Server) -> None:
    token = await shared.token("cookie-a")
    async with httpx.AsyncClient(base_url=shared.url("http"), trust_env=False) as client:
        morsel = SimpleCookie(await set_cookie(client, token))["imfast"]
        assert (morsel.value, morsel["path"], morsel["samesite"]) == (token, "/v1", "Strict")
        assert morsel["httponly"]
        assert not morsel["secure"]
        host = client.base_url.netloc.decode()
        over_tls = await set_cookie(client, token, Origin=f"https://{host}")
        assert SimpleCookie(over_tls)["imfast"]["secure"]
        gone = await client.delete("/v1/cookie")
        assert SimpleCookie(gone.headers["Set-Cookie"])["imfast"]["max-age"] == "0"
        wrong = await client.post("/v1/cookie", json={}, headers={"Authorization": "Bearer x"})
        assert (wrong.status_code, "Set-Cookie" in wrong.headers) == (401, False)
        assert (await client.post("/v1/cookie", json={})).status_code == 401


async def test_verbs_take_the_cookie_from_pages_that_may_connect(shared: Server) -> None:
    token = await shared.token("cookie-b")
    async with httpx.AsyncClient(base_url=shared.url("http"), trust_env=False) as client:
        await set_cookie(client, token)
        own = f"http://{client.base_url.netloc.decode()}"
        body = {"to": {"user": "cookie-c"}, "text": "by cookie"}

        async def status(**headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            cookie = {"Cookie": f"other=1; imfast={token}", **named}
            return (await client.post("/v1/send", json=body, headers=cookie)).status_code

        assert await status(Origin=own) == 200
        assert await status(Sec_Fetch_Site="same-origin") == 200
        # A form of another page, or a client that says nothing about where it comes from.
        assert await status() == 403
        assert await status(Sec_Fetch_Site="cross-site") == 403
        assert await status(Sec_Fetch_Site="same-site") == 403
        assert await status(Origin="https://evil.example") == 403
        assert await status(Origin="null") == 403
        # A token in the header is not the browser's doing.
        assert await status(Authorization=f"Bearer {token}") == 200


async def test_stream_of_events_and_a_websocket_come_of_a_cookie(shared: Server) -> None:
    token = await shared.token("cookie-d")
    host = f"127.0.0.1:{shared.ready.http}"

    async def head(*lines: str) -> str:
        connection = await RawHttp.open(shared)
        cookie = f"Cookie: imfast={token}"
        request = ("GET /v1/events HTTP/1.1", f"Host: {host}", cookie, *lines)
        connection.write("\r\n".join([*request, "", ""]))
        async with asyncio.timeout(10):
            first = await connection.reader.readline()
        connection.writer.close()
        return first.decode().strip()

    assert await head("Sec-Fetch-Site: same-origin") == "HTTP/1.1 200 OK"
    assert await head(f"Origin: http://{host}") == "HTTP/1.1 200 OK"
    assert await head() == "HTTP/1.1 200 OK"
    assert await head("Sec-Fetch-Site: cross-site") == "HTTP/1.1 403 Forbidden"
    async with httpx.AsyncClient(base_url=f"http://{host}", trust_env=False) as client:
        headers = {"Cookie": f"imfast={token}", "Origin": f"http://{host}"}
        answer = await client.post("/v1/ticket", json={}, headers=headers)
        ticket = answer.json()["ticket"]
    async with await PlainClient.connect(shared, "cookie-d", token=ticket) as session:
        assert json.dumps((await session.request("ping", {}))["pong"])
