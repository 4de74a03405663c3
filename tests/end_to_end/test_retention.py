"""Logs shed what their archives have: disks stay bounded, and nothing that counts on it is lost."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.test_archive import BODY, SMALL, check, fill, numbers
from tests.end_to_end.test_data import DAMAGED, data
from tests.support.deadline import until
from tests.support.plain_client import PlainClient, body_of
from tests.support.server import Server

SEGMENT = 1 << 20
KEEP = 2 << 20
SHEDDING = ("--segment-bytes", "1MiB", "--log-keep-bytes", "2MiB")
ROUNDS = 6
ROUND = 2_000
"""Messages of 1,000 bytes: two segments."""


def log_bytes(server: Server) -> int:
    return sum(segment.stat().st_size for segment in partition(server).glob("*.log"))


def first_index(server: Server) -> int:
    return min(int(segment.name.split("-")[0]) for segment in partition(server).glob("*.log"))


def partition(server: Server) -> Path:
    return server.data / "partitions" / "0"


async def test_log_is_bounded_and_starts_backups_and_restores_need_no_more_of_it(
    tmp_path: Path,
) -> None:
    backup, restored = tmp_path / "backup", tmp_path / "restored" / "data"
    options = ("--partitions", "1", *SMALL, *SHEDDING)
    # What stays, a segment that is not wholly behind it, one that is written, and what the archive
    # may be behind by: the memory for rows.
    bound = KEEP + 2 * SEGMENT + 2 * SEGMENT
    async with Server(tmp_path / "server", *options, workers=1) as server:
        alice = await PlainClient.connect(server, "alice")
        bob = await PlainClient.connect(server, "bob")
        await bob.wait(lambda: bob.sync, "a sync token")
        sync = bob.sync
        await bob.close()
        group = await alice.create_group("g", "bob")
        for number in range(ROUNDS):
            await fill(alice, group, number * ROUND, ROUND)
            await until(lambda: log_bytes(server) <= bound, "a log that sheds what is archived")
        sent = ROUNDS * ROUND
        assert log_bytes(server) < sent * 1_000 / 2
        assert first_index(server) > 2
        await check(server, group, sync, sent)

        verified = await data("verify", "--json", "--data-dir", server.data)
        assert verified.status == 0, verified.out
        [line] = verified.lines()
        assert line["first_position"] > 1  # type: ignore[operator]
        shown = await data("inspect", 0, "--limit", 1, "--data-dir", server.data)
        assert shown.lines()[0]["position"] == line["first_position"]
        copied = await data("backup", backup, "--data-dir", server.data)
        assert copied.status == 0, copied.err
        await alice.close()

        await server.kill_all()
        await server.start()
        await check(server, group, sync, sent)
        again = await PlainClient.connect(server, "alice")
        await fill(again, group, sent, 100)
        await again.close()
        await server.kill_all()
        # It cannot be made anew any more.
        table = next(partition(server).glob("archive/rows/tables/*"))
        content = bytearray(table.read_bytes())
        content[len(content) // 2] ^= 1
        table.write_bytes(content)
        verified = await data("verify", "--data-dir", server.data)
        assert verified.status == DAMAGED
        assert "imfast data restore" in verified.out
        refused = await data("backup", tmp_path / "another", "--data-dir", server.data)
        assert refused.status != 0
        assert "damaged" in refused.err

    made = await data("restore", backup, "--data-dir", restored)
    assert made.status == 0, made.err
    verified = await data("verify", "--data-dir", restored)
    assert verified.status == 0, verified.out
    async with Server(tmp_path / "restored", *options, workers=1) as server:
        again = await PlainClient.connect(server, "alice")
        rows = await again.history(group)
        assert [body_of(row)["seq"] for row in rows] == list(range(1, sent + 2))
        assert numbers(rows) == list(range(sent))
        first = await again.send({"group": group}, "k0", {"n": 0, "pad": BODY})
        assert (first["seq"], first["duplicate"]) == (2, True)
        await fill(again, group, sent, 100)
        await again.close()
