"""`imfast data` on the directory of a real server: running, stopped, damaged, restored."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.support.deadline import until
from tests.support.ledger import Ledger
from tests.support.plain_client import PlainClient, body_of
from tests.support.seeds import seeded_random
from tests.support.server import ROOT, Server
from tests.support.traffic import Traffic, connect_everybody, histories_of

DAMAGED = 7
DATA_DIRECTORY = 4


@dataclass(frozen=True)
class Ended:
    """A command that ran."""

    status: int
    out: str
    err: str

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.splitlines()]


async def data(*arguments: object) -> Ended:
    """Run `imfast data`."""

    def run() -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "imfast", "data", *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return await asyncio.to_thread(run)


def acknowledged(ledger: Ledger) -> set[str]:
    return {attempt.sent["messageId"] for attempt in ledger.attempts if attempt.sent is not None}


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("partitions/*/*.log"))


async def test_backup_of_a_server_under_load_restores_to_all_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    backup, restored = tmp_path / "backup", tmp_path / "restored" / "data"
    ledger = Ledger()
    async with Server(tmp_path / "server") as server, AsyncExitStack() as stack:
        clients = await connect_everybody(server, stack)
        alice = clients["alice"]
        group = await alice.create_group("all", *(name for name in clients if name != "alice"))
        traffic = Traffic(ledger, clients, [group], seeded_random("data"))
        await until(lambda: len(acknowledged(ledger)) >= 100, "100 acknowledged sends")
        before = acknowledged(ledger)
        copied = await data("backup", backup, "--data-dir", server.data)
        assert copied.status == 0, copied.err
        await traffic.finish()

        verified = await data("verify", "--json", "--data-dir", backup)
        assert verified.status == 0, verified.out
        assert sum(line["commands"] or 0 for line in verified.lines()) >= len(before)  # type: ignore[misc]

        made = await data("restore", backup, "--data-dir", restored)
        assert made.status == 0, made.err
        old_sync = alice.sync

    async with Server(tmp_path / "restored") as server, AsyncExitStack() as stack:
        # A token from after the backup names positions that this server will use for others.
        clients = await connect_everybody(server, stack, sync={"alice": old_sync})
        found = await histories_of(clients.values())
        ids = {
            body_of(row)["messageId"] for rows in found.values() for row in rows if "message" in row
        }
        assert before <= ids
        for rows in found.values():
            assert [body_of(row)["seq"] for row in rows] == list(range(1, len(rows) + 1))
        sent = await clients["alice"].send({"user": "bob"}, "after the restore", "hello")
        assert sent["messageId"] not in ids


async def test_verify_finds_every_flipped_byte_and_inspect_what_was_logged(tmp_path: Path) -> None:
    async with Server(tmp_path, "--partitions", "1", workers=1) as server:
        alice = await PlainClient.connect(server, "alice")
        for number in range(5):
            await alice.send({"user": "bob"}, f"key {number}", f"text {number}")
        running = await data("verify", "--json", "--data-dir", server.data)
        assert (running.status, running.lines()[0]["last_position"]) == (0, 5), running.err
        await alice.close()

    shown = await data("inspect", 0, "--from", 2, "--limit", 3, "--data-dir", server.data)
    assert [line["position"] for line in shown.lines()] == [2, 3, 4]
    assert {(line["kind"], line["user"]) for line in shown.lines()} == {("send", "alice")}
    assert "body" not in shown.lines()[0]
    bodies = await data("inspect", 0, "--bodies", "--data-dir", server.data)
    assert len(bodies.lines()) == 5
    assert all(line["body"] for line in bodies.lines())

    first = segments(server.data)[0]
    original = first.read_bytes()
    for at in (3, 20, 64, 70, len(original) // 2):
        damaged = bytearray(original)
        damaged[at] ^= 0x41
        first.write_bytes(damaged)
        found = await data("verify", "--data-dir", server.data)
        assert found.status == DAMAGED, f"byte {at}: {found.out}"
        assert str(first) in found.out, f"byte {at}: {found.out}"
        assert first.read_bytes() == damaged
    refused = await data("backup", tmp_path / "copy", "--data-dir", server.data)
    assert refused.status == DATA_DIRECTORY
    assert str(first) in refused.err
    first.write_bytes(original)
    assert (await data("verify", "--data-dir", server.data)).status == 0


async def test_data_commands_refuse_what_is_no_data_directory_and_a_target_in_use(
    tmp_path: Path,
) -> None:
    missing = await data("verify", "--data-dir", tmp_path / "nothing")
    assert missing.status == DATA_DIRECTORY
    assert "layout.json" in missing.err
    async with Server(tmp_path, "--partitions", "2", workers=1) as server:
        pass
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "letter").write_text("dear")
    for arguments in (
        ("backup", occupied, "--data-dir", server.data),
        ("restore", server.data, "--data-dir", occupied),
    ):
        refused = await data(*arguments)
        assert refused.status == DATA_DIRECTORY
        assert "not empty" in refused.err
    assert [path.name for path in occupied.iterdir()] == ["letter"]
    beyond = await data("inspect", 2, "--data-dir", server.data)
    assert beyond.status == DATA_DIRECTORY
    assert "0 to 1" in beyond.err
