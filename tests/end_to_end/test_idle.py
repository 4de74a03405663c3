"""A server whose clients are connected and say nothing: timers and beats, and nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.attach import Attached, require_attach
from tests.support.deadline import until
from tests.support.link_proxy import Kind, LinkProxy
from tests.support.link_session import LinkSession
from tests.support.seeds import seeded_random
from tests.support.server import Server
from tests.support.strace import Call, parse

# Beats of each link and direction that are watched: four seconds' worth.
BEATS = 4
# System calls of a worker per second, when it ticks once in it. A tick is a timer's read, and the
# sibling's beat and watermark, which are a read each, and ours, which are a sendto each. What
# wakes the worker costs it two epoll_pwait (the loop's and the engine's own): three times a tick
# at most. That makes 11; the rest is for a tick more than there should be.
CALLS_PER_SECOND_MAX = 15.0
# Without links: the timer's read and two epoll_pwait, once a second, and one more for the ends.
LONELY_CALLS_PER_SECOND = 3.0
LONELY_SECONDS = 6
# A worker that had something to do ticks four times a second for two seconds more.
SLOW_WITHIN = 10.0


async def test_idle_clients_cost_timer_wake_ups_and_beats_and_no_read_of_the_store(
    directory: Path,
) -> None:
    require_attach("that an idle server does not poll its store")
    fate = seeded_random("idle")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(Server(directory))
        proxy = await stack.enter_async_context(LinkProxy(server))
        session = await stack.enter_async_context(LinkSession(server, fate))
        await session.mixed_round("before the quiet")
        # The last checkpoints go out within a second; then nothing more is pushed.
        await proxy.quiet()
        pushes = {user: len(client.pushes) for user, client in session.clients.items()}
        for worker in server.ready.workers:
            pid = worker.pid
            await until(lambda pid=pid: ticks_slowly(pid), "the slow tick", timeout=SLOW_WITHIN)
        tracers = [
            await stack.enter_async_context(
                Attached(worker.pid, directory / f"idle-{worker.server}.txt", "-ttt", "-yy")
            )
            for worker in server.ready.workers
        ]
        loop = asyncio.get_running_loop()
        proxy.seen.clear()
        began = loop.time()
        await until(
            lambda: sum(frame.kind == Kind.BEAT for frame in proxy.seen) >= 2 * BEATS,
            "beats of the links",
            timeout=30,
        )
        seconds = loop.time() - began
        kinds = Counter(frame.kind.name for frame in proxy.seen)
        for tracer in tracers:
            await tracer.__aexit__(None, None, None)
        assert set(kinds) <= {"BEAT", "WATERMARK"}, f"an idle link carried {kinds}"
        for user, client in session.clients.items():
            new = [push for push in client.pushes[pushes[user] :] if "checkpoint" not in push]
            assert not new, f"{user} was pushed {new}"
        for tracer in tracers:
            check_calls(tracer.output, server.data, seconds)
        await session.mixed_round("after the quiet")
        await session.check()


def check_calls(output: Path, data: Path, seconds: float) -> None:
    """What one worker asked of the kernel, meanwhile."""
    calls = parse(output.read_text(errors="replace"))
    of_store = [call for call in calls if str(data / "partitions") in call.arguments]
    assert not of_store, f"an idle worker touched its log: {of_store[:5]}"
    names = Counter(call.name for call in calls)
    rate = len(calls) / seconds
    counted = f"{rate:.0f} system calls/s over {seconds:.1f} s: {dict(names.most_common())}"
    print(counted)
    opened = names["open"] + names["openat"] + names["openat2"] + names["mmap"]
    assert not opened, f"an idle worker opened or mapped something: {counted}"
    assert rate <= CALLS_PER_SECOND_MAX, counted
    assert names["timerfd_settime"] == 0, f"timers are set again and again: {counted}"
    assert len(ticks(calls)) >= seconds - 2, f"the worker was not watched: {counted}"


def ticks(calls: list[Call]) -> list[Call]:
    """The readings of the engine's timer."""
    return [call for call in calls if call.name == "read" and "timerfd" in call.file]


def ticks_slowly(pid: int) -> bool:
    """Whether a worker's timer fires once a second (proc(5), fdinfo of a timerfd)."""
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        if "it_interval: (1, 0)" in entry.read_text():
            return True
    return False


async def test_worker_without_clients_ticks_once_a_second(directory: Path) -> None:
    require_attach("that an idle worker sleeps")
    async with Server(directory, workers=1) as server:
        pid = server.worker(0).pid
        await until(lambda: ticks_slowly(pid), "the slow tick", timeout=SLOW_WITHIN)
        output = directory / "lonely.txt"
        async with Attached(pid, output, "-ttt", "-yy"):
            await until(
                lambda: output.read_text().count("timerfd") >= LONELY_SECONDS,
                "ticks of an idle worker",
                timeout=3 * LONELY_SECONDS,
            )
        calls = parse(output.read_text(errors="replace"))
        counted = Counter(call.name for call in calls)
        print(dict(counted))
        # One second passes between two ticks, whatever the machine does meanwhile.
        assert len(ticks(calls)) >= LONELY_SECONDS
        assert len(calls) <= LONELY_CALLS_PER_SECOND * (len(ticks(calls)) + 1), counted
