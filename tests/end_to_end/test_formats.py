"""Data directories of earlier formats are served as they were, those of later ones refused."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.test_data import DATA_DIRECTORY, data
from tests.support.data_fixture import OPTIONS, USERS, seen_by
from tests.support.deadline import until
from tests.support.plain_client import PlainClient
from tests.support.server import ROOT, Server

MADE = sorted((ROOT / "tests" / "data").glob("format-*.json"))
"""By `tests.support.data_fixture`, each with the last revision that wrote its format."""


def unpack(made: Path, target: Path) -> None:
    with tarfile.open(made.with_suffix(".tar.xz")) as archive:
        archive.extractall(target, filter="data")


def read_expected(made: Path) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads(made.read_text(encoding="utf-8"))
    return expected


async def check(server: Server, expected: dict[str, Any]) -> None:
    clients = {user: await PlainClient.connect(server, user) for user in USERS}
    assert await seen_by(clients) == expected["seen"]
    for sender, to, key, text, seq, message_id in expected["sends"]:
        again = await clients[sender].send(to, key, text)
        assert (again["seq"], again["messageId"], again["duplicate"]) == (seq, message_id, True)
    for client in clients.values():
        await client.close()


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.stem)
async def test_directory_of_an_earlier_format_is_served_and_goes_on(
    tmp_path: Path, made: Path
) -> None:
    unpack(made, tmp_path)
    expected = read_expected(made)
    async with Server(tmp_path, *OPTIONS, workers=1) as server:
        await check(server, expected)
        alice = await PlainClient.connect(server, "alice")
        sent = await alice.send({"user": "bob"}, "from now", "after the upgrade")
        assert not sent["duplicate"]
        await alice.close()
        await server.kill_all()
        await server.start()
        again = await PlainClient.connect(server, "alice")
        repeated = await again.send({"user": "bob"}, "from now", "after the upgrade")
        assert (repeated["seq"], repeated["duplicate"]) == (sent["seq"], True)
        await again.close()
        await server.kill_all()
    verified = await data("verify", "--data-dir", server.data)
    assert verified.status == 0, verified.out


def newer_layout(directory: Path) -> Iterator[str]:
    layout = directory / "layout.json"
    content = json.loads(layout.read_text(encoding="utf-8"))
    layout.write_text(json.dumps({**content, "format": 99, "something": "new"}), encoding="utf-8")
    yield "format 99"


def newer_segment(directory: Path) -> Iterator[str]:
    for segment in directory.glob("partitions/*/*.log"):
        content = bytearray(segment.read_bytes())
        content[8:12] = (99).to_bytes(4, "little")
        segment.write_bytes(content)
    yield "format version 99"


@pytest.mark.parametrize("newer", [newer_layout, newer_segment])
async def test_directory_of_a_later_format_is_refused_and_not_touched(
    tmp_path: Path, newer: Any
) -> None:
    unpack(MADE[-1], tmp_path)
    async with Server(tmp_path, *OPTIONS, workers=1) as server:
        await server.kill_all()
        [named] = newer(server.data)
        before = {path: path.read_bytes() for path in server.data.glob("partitions/*/*.log")}
        refused = server.spawn()
        await until(lambda: refused.poll() is not None, "the end of a server that cannot start")
        server.process = None
        assert refused.returncode == DATA_DIRECTORY
        assert named in server.log.read_text(encoding="utf-8")
        assert all(path.read_bytes() == content for path, content in before.items())
