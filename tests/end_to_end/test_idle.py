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
from tests.support.strace import parse

# Beats of each link and direction that are watched: three seconds' worth.
BEATS = 12
# System calls of a worker per second; measured: 37. A tick, four times a second, is a timer's
# read, and the sibling's beat and watermark, which are a read each, and ours, which are a sendto
# each. What wakes the worker costs it two epoll_pwait (the loop's and the engine's own): three
# times a tick at most. That makes 44; the rest is for a tick more than there should be.
CALLS_PER_SECOND_MAX = 50.0


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
            timeout=15,
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
    fired = [call for call in calls if call.name == "read" and "timerfd" in call.file]
    assert len(fired) >= 3 * seconds, f"the worker was not watched: {counted}"
