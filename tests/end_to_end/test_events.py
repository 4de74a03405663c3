"""Server-sent events: a session that only listens, beside requests that send."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.deadline import until
from tests.support.event_stream import EventStream
from tests.support.plain_client import PlainClient, body_of
from tests.support.raw_http import RawHttp, post
from tests.support.seeds import seeded_random
from tests.support.server import Server


async def ticket_of(server: Server, user: str) -> str:
    async with await RawHttp.open(server) as connection:
        connection.write(post("ticket", {}, await server.token(user)))
        answer = await connection.answer()
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
        assert answer.content["expiresInMs"] == 30_000
        ticket: str = answer.content["ticket"]
        return ticket


async def test_stream_begins_with_what_browsers_and_proxies_need(shared: Server) -> None:
    token = await shared.token("head-alice")
    async with await EventStream.open(shared, token=token, device="web") as stream:
        assert stream.head["cache-control"] == "no-store"
        assert stream.head["x-accel-buffering"] == "no"
        assert stream.head["transfer-encoding"] == "chunked"
        connected = await stream.wait_for("connected")
        assert connected["user"] == "head-alice"
        caught_up = await stream.wait_for("caughtUp")
        assert stream.last_id == caught_up["token"]
        assert 1000 <= stream.retry_ms < 2000
        assert all("id" not in frame for frame in stream.events)


async def test_pushes_are_those_of_a_websocket(shared: Server) -> None:
    """Groups and direct messages, events and ephemeral ones, and a joining in the middle."""
    token = await shared.token("push-alice")
    async with (
        await PlainClient.connect(shared, "push-bob") as bob,
        await PlainClient.connect(shared, "push-alice") as beside,
        await EventStream.open(shared, token=token) as stream,
    ):
        await stream.wait_for("caughtUp")
        group = await bob.create_group("g", "push-alice")
        direct = {"user": "push-alice"}
        for number in range(20):
            await bob.send({"group": group}, f"g{number}", number)
            await bob.send(direct, f"d{number}", number)
        await bob.request("send", {"to": {"group": group}, "text": "typing", "ephemeral": True})
        rows = await stream.wait_rows(42)
        await until(lambda: len([1 for f in beside.pushes if body_in(f)]) >= 42, "the same beside")
        seen = [body_of(frame) for frame in beside.pushes if body_in(frame)]
        for conversation in {row["conversation"] for row in rows}:
            ours = [row for row in rows if row["conversation"] == conversation]
            theirs = [row for row in seen if row["conversation"] == conversation]
            assert ours == theirs


def body_in(frame: dict[str, Any]) -> bool:
    return "message" in frame or "event" in frame


async def test_stream_that_comes_back_with_its_last_id_misses_nothing(shared: Server) -> None:
    fate = seeded_random("events resume")
    token = await shared.token("resume-alice")
    sent, seen, last_id = 0, set[int](), ""
    async with await PlainClient.connect(shared, "resume-bob") as bob:
        for _ in range(6):
            async with await EventStream.open(shared, token=token, last_id=last_id) as stream:
                for _ in range(fate.randrange(1, 20)):
                    sent += 1
                    await bob.send({"user": "resume-alice"}, f"{sent}", sent)
                for row in stream.rows():
                    seen.add(row["seq"])
                if fate.random() < 0.5:
                    await stream.wait_for("checkpoint")
                seen |= {row["seq"] for row in stream.rows()}
                last_id = stream.last_id or last_id
        query = {"sync": last_id} if last_id else {}
        async with await EventStream.open(shared, token=token, **query) as stream:
            await stream.wait_for("caughtUp")
            await until(
                lambda: seen | {row["seq"] for row in stream.rows()} == set(range(1, sent + 1)),
                f"all of {sent}",
            )
            # Repeats are bounded by the checkpoints: what one covers does not come again.
            seqs = [row["seq"] for row in stream.rows()]
            assert seqs == sorted(set(seqs))


async def test_id_is_only_on_what_has_a_token_and_covers_what_came_before(shared: Server) -> None:
    token = await shared.token("id-alice")
    async with (
        await PlainClient.connect(shared, "id-bob") as bob,
        await EventStream.open(shared, token=token) as stream,
    ):
        await stream.wait_for("caughtUp")
        await bob.send({"user": "id-alice"}, "k", "one")
        checkpoint = await stream.wait_for("checkpoint")
        assert stream.last_id == checkpoint["token"]
        last_id = stream.last_id
        await bob.send({"user": "id-alice"}, "k2", "two")
        await stream.wait_rows(2)
    async with await EventStream.open(shared, token=token, last_id=last_id) as again:
        assert [row["json"] for row in await again.wait_rows(1)][-1] == "two"
        assert {row["seq"] for row in again.rows()} == {2}


@pytest.mark.parametrize("last_id", ["nonsense", "AQAAAAAC", "%00", "x" * 3000])
async def test_last_id_of_nobody_starts_from_the_devices_cursors(
    shared: Server, last_id: str
) -> None:
    user = f"foreign-{len(last_id)}-{last_id[:1].strip('%')}"
    token = await shared.token(user)
    async with (
        await PlainClient.connect(shared, "foreign-bob") as bob,
        await RawHttp.open(shared) as connection,
    ):
        sent = await bob.send({"user": user}, f"k-{user}", "seen")
        where = {"conversation": sent["conversation"], "seq": 1}
        connection.write(post("ack", where, token))
        assert (await connection.answer()).status == 200
        await bob.send({"user": user}, f"k2-{user}", "hello")
    async with await EventStream.open(shared, token=token, last_id=last_id) as stream:
        assert [row["json"] for row in await stream.wait_rows(1)] == ["hello"]


async def test_ticket_opens_one_stream_once_on_any_worker(shared: Server) -> None:
    for number in range(8):
        user = f"ticket-{number}"
        ticket = await ticket_of(shared, user)
        assert re.fullmatch(r"tk\.[A-Za-z0-9_-]+", ticket), "safe in a query as it is"
        async with await EventStream.open(shared, ticket=ticket) as stream:
            assert (await stream.wait_for("connected"))["user"] == user
        async with httpx.AsyncClient(base_url=shared.url("http"), trust_env=False) as client:
            again = await client.get("/v1/events", params={"ticket": ticket})
            assert (again.status_code, again.json()["reason"]) == (401, "token_invalid")


async def test_ticket_used_many_times_at_once_opens_one_stream(shared: Server) -> None:
    ticket = await ticket_of(shared, "race-alice")

    async def status() -> int:
        async with await RawHttp.open(shared) as connection:
            connection.write(f"GET /v1/events?ticket={ticket} HTTP/1.1\r\nHost: x\r\n\r\n")
            line = await asyncio.wait_for(connection.reader.readline(), 10)
            return int(line.split()[1])

    statuses = await asyncio.gather(*(status() for _ in range(20)))
    assert sorted(statuses) == [200] + 19 * [401]


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /v1/events HTTP/1.1", 401),
        ("GET /v1/events?ticket=x HTTP/1.1", 401),
        ("GET /v1/events?ticket=../../secret HTTP/1.1", 401),
        ("GET /v1/events HTTP/1.0", 505),
        ("POST /v1/events HTTP/1.1\r\nContent-Length: 0", 405),
    ],
)
async def test_stream_that_is_not_granted_is_a_problem(
    shared: Server, request_line: str, status: int
) -> None:
    async with await RawHttp.open(shared) as connection:
        connection.write(f"{request_line}\r\nHost: x\r\n\r\n")
        answer = await connection.answer()
        assert answer.status == answer.content["status"] == status


async def test_quiet_stream_has_comments_and_ends_with_its_token(directory: Path) -> None:
    async with Server(directory, "--heartbeat-s", "1s", workers=1) as server:
        token = await server.token("brief", "--ttl", "5s")
        async with await EventStream.open(server, token=token) as stream:
            await until(lambda: stream.comments >= 2, "two heartbeats", timeout=15)
            await asyncio.wait_for(stream.ended.wait(), 20)
            assert stream.named("tokenExpiring")
            assert stream.named("error")[-1]["name"] == "token_expired"
            assert stream.complete


async def test_slow_reader_of_events_is_closed_and_recovers(directory: Path) -> None:
    flags = ("--send-queue-bytes", "160KiB", "--socket-unsent-bytes", "16KiB")
    async with Server(directory, *flags, workers=1) as server:
        token = await server.token("deaf")
        async with await PlainClient.connect(server, "loud") as loud:
            group = await loud.create_group("g", "deaf")
            async with await EventStream.open(server, token=token) as stream:
                await stream.wait_for("caughtUp")
                last_id = stream.last_id
            deaf = await RawHttp.open(server)
            deaf.write(
                f"GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
            )
            deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
            sent = 0

            async def slow_consumers() -> int:
                [worker] = (await server.status())["workers"]
                return int(worker["counters"]["slow_consumers"])

            async with asyncio.timeout(25):
                while await slow_consumers() == 0:
                    for _ in range(50):
                        sent += 1
                        await loud.send({"group": group}, f"{sent}", "x" * 10_000)
            deaf.writer.transport.abort()
            async with await EventStream.open(server, token=token, last_id=last_id) as stream:
                rows = await stream.wait_rows(sent)
                assert [row["seq"] for row in rows] == list(range(2, sent + 2))


async def test_streams_are_told_to_come_back_when_the_server_stops(directory: Path) -> None:
    async with Server(directory, workers=1) as server:
        token = await server.token("leaving")
        async with await EventStream.open(server, token=token) as stream:
            await stream.wait_for("caughtUp")
            stopped = asyncio.create_task(server.stop())
            await asyncio.wait_for(stream.ended.wait(), 15)
            assert stream.named("goaway")
            assert stream.complete
            assert await stopped == 0


async def test_public_client_reads_the_stream(shared: Server) -> None:
    """httpx, line by line, as any client of HTTP can."""
    token = await shared.token("lines-alice")
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    async with (
        httpx.AsyncClient(base_url=shared.url("http"), trust_env=False, timeout=15) as client,
        client.stream("GET", "/v1/events", headers=headers) as answer,
    ):
        lines = answer.aiter_lines()
        async with await PlainClient.connect(shared, "lines-bob") as bob:
            await bob.send({"user": "lines-alice"}, "k", "to a plain client")
        async for line in lines:
            frame = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if "message" in frame:
                assert frame["message"]["json"] == "to a plain client"
                return
    raise AssertionError("the stream ended")
