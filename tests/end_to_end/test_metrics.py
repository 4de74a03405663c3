"""What a monitoring system and a balancer see."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from imfast.observe.metrics import METRICS
from tests.support.event_stream import EventStream
from tests.support.plain_client import PlainClient
from tests.support.raw_http import RawHttp, post
from tests.support.server import Server

Samples = dict[str, float]


async def scrape(server: Server) -> dict[str, Samples]:
    """By name of the family, the samples by their labels without the worker's, summed."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{server.ready.admin}/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.name not in found, "a family stands once"
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        if family.type == "histogram":
            found[family.name] = {
                sample.name.removeprefix(family.name) + sample.labels.get("le", ""): sample.value
                for sample in family.samples
            }
            continue
        totals: Samples = defaultdict(float)
        for sample in family.samples:
            assert sample.name.endswith("_total") is (family.type == "counter"), sample.name
            labels = {k: v for k, v in sample.labels.items() if k != "worker"}
            totals[",".join(labels.values())] += sample.value
        found[family.name] = totals
    return found


async def test_every_number_of_the_status_is_a_metric(shared: Server) -> None:
    [first, *_] = (await shared.status())["workers"]
    shown = [counter for metric in METRICS for counter in metric.counters]
    assert len(shown) == len(set(shown)), "each once"
    # The connections are the sum of those by transport.
    assert sorted([*shown, "connections"]) == sorted(first["counters"])


async def test_histograms_of_all_workers_are_one_and_outlive_them(directory: Path) -> None:
    async with Server(directory) as server:
        group_size = 5
        members = [f"m{number}" for number in range(group_size)]
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(await PlainClient.connect(server, user))
                for user in members
            ]
            group = await clients[0].create_group("all", *members[1:])
            for number in range(20):
                await clients[0].send({"group": group}, f"{number}", number)
            for client in clients:
                await client.wait_rows(group, 20)
            seen = await scrape(server)
            delivery = seen["imfast_delivery_latency_seconds"]
            commit = seen["imfast_commit_latency_seconds"]
            assert delivery["_count"] >= 20 * group_size
            assert delivery["_count"] <= seen["imfast_deliveries"][""]
            assert commit["_count"] == seen["imfast_commits"][""]
            for histogram in (delivery, commit):
                buckets = [n for name, n in histogram.items() if name.startswith("_bucket")]
                assert buckets == sorted(buckets), "they are cumulative"
                assert buckets[-1] == histogram["_bucket+Inf"] == histogram["_count"]
                assert histogram["_sum"] < histogram["_count"] * 10
        for index in range(2):
            server.kill_worker(index)
        await server.restarted()
        later = await scrape(server)
        for name in ("imfast_delivery_latency_seconds", "imfast_commit_latency_seconds"):
            assert later[name]["_count"] >= seen[name]["_count"], "a worker's counts outlive it"
        assert later["imfast_commands"][""] >= seen["imfast_commands"][""]


async def test_metrics_tell_what_clients_did(directory: Path) -> None:
    async with Server(directory) as server:
        token = await server.token("http-alice")
        async with (
            await PlainClient.connect(server, "alice") as alice,
            await EventStream.open(server, token=await server.token("bob")) as bob,
            await RawHttp.open(server) as connection,
        ):
            for number in range(10):
                await alice.send({"user": "bob"}, f"{number}", number)
            await bob.wait_rows(10)
            connection.write(post("send", {"to": {"user": "bob"}, "text": ""}, token))
            connection.write(post("send", {"to": {}}, token))
            assert [(await connection.answer()).status for _ in range(2)] == [200, 400]
            seen = await scrape(server)
            by_transport = {name: n for name, n in seen["imfast_connections"].items() if n}
            assert by_transport == {"websocket_json": 1, "events": 1, "http": 1}
            assert seen["imfast_commands"][""] == 11
            assert seen["imfast_errors"][""] == 1
            assert seen["imfast_deliveries"][""] >= 21
            assert seen["imfast_ready"][""] == 1
            assert seen["imfast_worker_up"][""] == 2
            assert seen["imfast_partitions"][""] == 2
            assert seen["imfast_worker_resident_memory_bytes"][""] > 1 << 20
            # The kernel counts in hundredths of a second, of which ten messages may take none.
            async with asyncio.timeout(10):
                number = 10
                while (await scrape(server))["imfast_worker_cpu_seconds"][""] == 0:
                    await alice.send({"user": "bob"}, f"{number}", number)
                    number += 1
            commit = seen["imfast_recent_commit_seconds"]
            assert 0 < commit["0.5"] <= commit["0.99"] <= commit["1"] < 20
            later = await scrape(server)
            for name in ("imfast_requests", "imfast_sent_bytes", "imfast_commands"):
                assert later[name][""] >= seen[name][""]


async def test_both_ports_tell_health_and_readiness(shared: Server) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for port in (shared.ready.http, shared.ready.admin):
            for path in ("/healthz", "/readyz"):
                answer = await client.get(f"http://127.0.0.1:{port}{path}")
                assert answer.status_code == 200, answer.text


async def test_server_without_one_of_its_workers_is_not_ready(directory: Path) -> None:
    async with Server(directory, "--spare-workers", "0") as server:
        url = f"http://127.0.0.1:{server.ready.admin}/readyz"
        async with httpx.AsyncClient(trust_env=False) as client:
            killed = server.worker(0).pid
            server.kill_worker(0)
            async with asyncio.timeout(20):
                # A successor may be there before anybody can look; the more of them die early, the
                # longer the supervisor waits with the next one.
                while (answer := await client.get(url)).status_code == 200:
                    started = server.lines("worker_started")
                    newest = [line["pid"] for line in started if line["server"] == "n1.w0"][-1]
                    if newest != killed:
                        killed = newest
                        os.kill(killed, signal.SIGKILL)
            assert (answer.status_code, answer.text) == (503, "waiting for n1.w0\n")
            await server.restarted()
            async with asyncio.timeout(10):
                while (await client.get(url)).status_code != 200:
                    pass
