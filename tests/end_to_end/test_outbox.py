"""Consumers of what was committed: at least once, in order, through kills of either side."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.support.consumer import Handed, Notes
from tests.support.deadline import until
from tests.support.plain_client import DisconnectedError, Frame, PlainClient, RefusedError, body_of
from tests.support.seeds import seeded_random
from tests.support.server import ROOT, Server

FLAGS = (
    *("--after-commit", "notes=tests.support.consumer:take"),
    *("--outbox-backoff-s", "20ms", "--outbox-backoff-max-s", "100ms"),
)
KILLS = 5
CONVERSATIONS = 6
SLOW_SENDS = 600
OUTAGE_SENDS = 60


def serve(directory: Path, notes: Notes, *flags: str) -> Server:
    return Server(directory, *FLAGS, *flags, environment=notes.environment())


def imfast(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the command line."""
    return subprocess.run(
        [sys.executable, "-m", "imfast", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def outbox(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `imfast outbox` on the server's directory."""
    return imfast("outbox", *arguments, "--data-dir", server.data)


def listed(server: Server, *arguments: str) -> list[dict[str, Any]]:
    """What `imfast outbox list --json` prints of letters."""
    run = outbox(server, "list", "--json", *arguments)
    assert run.returncode == 0, run.stderr
    return [line for line in map(json.loads, run.stdout.splitlines()) if "id" in line]


def check_order(handed: list[Handed], conversation: str, history: list[Frame]) -> None:
    """Every row at least once under its id, the first times in order, gaps nowhere."""
    rows = [body_of(row) for row in history]
    theirs = [one for one in handed if one.conversation == conversation]
    first = list(dict.fromkeys((one.seq, one.id) for one in theirs))
    assert first == [(row["seq"], row["messageId"]) for row in rows]
    # One process hands over nothing twice but for what failed; here nothing did.
    for pid in {one.pid for one in theirs}:
        seqs = [one.seq for one in theirs if one.pid == pid]
        assert seqs == sorted(seqs), f"{conversation} out of order within process {pid}"


async def test_effects_come_at_least_once_and_in_order_through_kills(directory: Path) -> None:
    fate = seeded_random("outbox kills")
    notes = Notes(directory / "notes")
    async with serve(directory, notes) as server:
        groups: list[str] = []
        async with await PlainClient.connect(server, "alice") as alice:
            for number in range(CONVERSATIONS):
                groups.append(await alice.create_group(f"g{number}", "bob"))
            direct = await alice.send({"user": "bob"}, "d", "hello")
            conversations = [*groups, direct["conversation"]]
        stop = asyncio.Event()
        sending = asyncio.create_task(keep_sending(server, groups, stop))
        for kill in range(KILLS):
            enough = len(notes.handed) + 30
            await until(
                lambda least=enough: len(notes.handed) >= least,
                f"rows before kill {kill}",
            )
            if fate.random() < 0.5:
                count = len(server.lines("consumer_started"))
                os.kill(notes.pid(server), signal.SIGKILL)
                await until(
                    lambda few=count: len(server.lines("consumer_started")) > few,
                    "another consumer",
                )
            else:
                server.kill_worker(fate.randrange(2))
                await server.restarted()
        stop.set()
        sent = await sending
        async with await PlainClient.connect(server, "alice") as alice:
            rows = {one: await alice.history(one) for one in conversations}
            total = sum(map(len, rows.values()))
            await until(
                lambda: len({one.id for one in notes.handed}) >= total,
                f"all {total} rows",
            )
        assert sent > KILLS
        for conversation in conversations:
            check_order(notes.handed, conversation, rows[conversation])
        hello = [one for one in notes.handed if one.conversation == direct["conversation"]]
        assert {tuple(one.direct) for one in hello} == {("alice", "bob")}
        await until(lambda: not listed(server, "--state", "all"), "no letter left")
        before = len(notes.handed)
        # An orderly stop notes all that was handled: nothing comes again.
        assert await server.stop() == 0
        await server.start()
        async with await PlainClient.connect(server, "alice") as alice:
            await alice.send({"group": groups[0]}, "last", "after the restart")
        await notes.wait_texts("after the restart")
        assert len(notes.handed) == before + 1


async def keep_sending(server: Server, groups: list[str], stop: asyncio.Event) -> int:
    """Sends until told to stop, over however many connections that takes; returns how many."""
    count = 0
    while not stop.is_set():
        try:
            async with await PlainClient.connect(server, "alice") as client:
                while not stop.is_set():
                    group = groups[count % len(groups)]
                    await client.send({"group": group}, f"k{count}", f"message {count}")
                    count += 1
        except (DisconnectedError, RefusedError, OSError):
            await asyncio.sleep(0.02)
    return count


async def test_failure_holds_its_conversation_and_no_other(directory: Path) -> None:
    notes = Notes(directory / "notes")
    notes.order(fail=["bad"])
    async with serve(directory, notes) as server, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(await PlainClient.connect(server, "alice"))
        for number, text in enumerate(("before", "bad", "behind", "further behind")):
            await alice.send({"user": "bob"}, f"k{number}", text)
        await alice.send({"user": "carol"}, "other", "elsewhere")
        await notes.wait_texts("before", "elsewhere")
        await until(
            lambda: sum("bad" in call["texts"] for call in notes.calls) >= 3, "further attempts"
        )
        assert set(notes.texts) == {"before", "elsewhere"}
        waiting = await until(
            lambda: (found := listed(server, "--state", "waiting")) and len(found) == 3 and found,
            "three letters",
        )
        assert [letter["attempts"] > 0 for letter in waiting] == [True, False, False]
        assert "told to fail at ['bad']" in waiting[0]["error"]
        notes.order()
        await notes.wait_texts("further behind")
        bob = [one.text for one in notes.handed if "bob" in one.direct]
        assert bob == ["before", "bad", "behind", "further behind"]
        assert not listed(server, "--state", "all")


async def test_dead_letters_are_listed_retried_and_dropped(directory: Path) -> None:
    notes = Notes(directory / "notes")
    notes.order(fail=["bad", "worse"])
    async with serve(directory, notes, "--outbox-attempts-max", "2") as server:
        async with await PlainClient.connect(server, "alice") as alice:
            sent = {
                text: await alice.send({"user": "bob"}, text, text)
                for text in ("bad", "worse", "good")
            }
        ids = {text: body["messageId"] for text, body in sent.items()}
        await notes.wait_texts("good")
        dead = await until(
            lambda: (found := listed(server)) and len(found) == 2 and found, "two dead letters"
        )
        assert [letter["id"] for letter in dead] == [ids["bad"], ids["worse"]]
        assert all(letter["attempts"] == 2 and letter["state"] == "dead" for letter in dead)
        [shown, *_] = listed(server, "--bodies")
        assert shown["effect"]["message"]["json"] == "bad"
        text = outbox(server, "list").stdout
        assert "0 waiting, 2 dead" in text
        assert "told to fail" in text
        notes.order(fail=["worse"])
        run = outbox(server, "retry", ids["bad"])
        assert (run.returncode, run.stdout) == (0, "notes: retried 1\n")
        await notes.wait_texts("bad")
        await until(lambda: len(listed(server, "--state", "all")) == 1, "one letter")
        for arguments, complaint in (
            (("drop", "17"), "1 of 1 letters are not there"),
            (("drop",), "name letters by their IDS, or all of them by --all"),
            (("list", "--consumer", "x"), "no consumer 'x' has run here; known: notes"),
            (("list", "--bodies"), "--bodies needs --json"),
        ):
            run = outbox(server, *arguments)
            assert run.returncode != 0
            assert complaint in run.stderr
    # The same without a server.
    run = outbox(server, "drop", "--all", "--consumer", "notes")
    assert (run.returncode, run.stdout) == (0, "notes: dropped 1\n"), run.stderr
    assert not listed(server, "--state", "all")
    assert "worse" not in notes.texts


async def test_effect_that_ends_the_process_is_found_and_others_go_on(directory: Path) -> None:
    notes = Notes(directory / "notes")
    notes.order(stop=True)
    # One partition: all are handed over in one call, and each that ends it is found.
    flags = ("--partitions", "1", "--outbox-attempts-max", "1", "--outbox-call-timeout-s", "300ms")
    async with serve(directory, notes, *flags) as server:
        async with await PlainClient.connect(server, "alice") as alice:
            for user, text in (
                ("bob", "deadly"),
                ("carol", "endless"),
                ("erin", "fatal"),
                ("dan", "harmless"),
            ):
                await alice.send({"user": user}, text, text)
        notes.order(die=["deadly", "fatal"], hang=["endless"])
        await notes.wait_texts("harmless", timeout=40)
        dead = await until(
            lambda: (found := listed(server)) and len(found) == 3 and found,
            "three dead letters",
            timeout=40,
        )
        assert {letter["error"] for letter in dead} == {
            "the consumer's process ended while it was handled"
        }
        assert notes.texts == ["harmless"]
        statuses = {line["status"] for line in server.lines("consumer_died")}
        assert statuses == {3, 75}, "it died by itself, and for hanging"


async def test_commits_do_not_wait_for_a_consumer(directory: Path) -> None:
    notes = Notes(directory / "notes")
    notes.order(stop=True)
    async with serve(directory, notes) as server:
        async with await PlainClient.connect(server, "alice") as alice:
            texts = [f"message {number}" for number in range(SLOW_SENDS)]
            replies = alice.post_all(
                *(("send", {"to": {"user": "bob"}, "key": text, "json": text}) for text in texts)
            )
            seqs = [(await reply)["sent"]["seq"] for reply in replies]
            assert seqs == list(range(1, SLOW_SENDS + 1))
            assert notes.handed == []
        notes.order()
        await notes.wait_texts(*texts)
        assert notes.texts == texts
        assert max(len(call["texts"]) for call in notes.calls) <= 256


async def test_outage_leaves_few_letters_and_ends_by_itself(directory: Path) -> None:
    notes = Notes(directory / "notes")
    notes.order(stop=True)
    async with serve(directory, notes, "--outbox-batch-effects", "4") as server:
        texts = [f"message {number}" for number in range(OUTAGE_SENDS)]
        async with await PlainClient.connect(server, "alice") as alice:
            for number, text in enumerate(texts):
                await alice.send({"user": f"user{number % 10}"}, text, text)
        notes.order(down=True)
        await until(lambda: len(notes.calls) > 60, "attempts")
        waiting = len(listed(server, "--state", "waiting"))
        assert 0 < waiting <= OUTAGE_SENDS // 2, "an outage fills no disk with letters"
        assert notes.handed == []
        notes.order()
        await notes.wait_texts(*texts, timeout=30)
        for number in range(10):
            theirs = [one.text for one in notes.handed if f"user{number}" in one.direct]
            assert theirs == texts[number::10]
        await until(lambda: not listed(server, "--state", "all"), "no letter left")


async def test_consumer_of_a_restored_backup_goes_on_from_where_it_was(directory: Path) -> None:
    notes = Notes(directory / "notes")
    first = serve(directory, notes)
    async with first as server:
        async with await PlainClient.connect(server, "alice") as alice:
            for number in range(3):
                await alice.send({"user": "bob"}, f"k{number}", f"handled {number}")
        await notes.wait_texts("handled 2")
    server = Server(directory, environment=notes.environment())  # without its consumer
    async with server, await PlainClient.connect(server, "alice") as alice:
        for number in range(3):
            await alice.send({"user": "bob"}, f"m{number}", f"missed {number}")
        copy, restored = directory / "copy", directory / "restored" / "data"
        for run in (
            imfast("data", "backup", copy, "--data-dir", server.data),
            imfast("data", "restore", copy, "--data-dir", restored),
        ):
            assert run.returncode == 0, run.stderr
    async with serve(directory / "restored", notes):
        await notes.wait_texts("missed 2")
        assert notes.texts == [f"handled {n}" for n in range(3)] + [f"missed {n}" for n in range(3)]


async def test_consumer_that_cannot_be_loaded_says_so_and_harms_nobody(directory: Path) -> None:
    flags = ("--after-commit", "a=no.such.module:f,b=tests.support.consumer:take_async")
    notes = Notes(directory / "notes")
    async with Server(directory, *flags, environment=notes.environment()) as server:
        async with await PlainClient.connect(server, "alice") as alice:
            await alice.send({"user": "bob"}, "k", "hello")
        await notes.wait_texts("hello")
        line = await until(lambda: server.lines("consumer_not_started"), "the reason in the log")
        assert "option after_commit: no.such.module:f: No module named 'no'" in line[0]["reason"]
        assert "PYTHONPATH" in line[0]["reason"]
