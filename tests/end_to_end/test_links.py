"""Links between workers that lose, repeat, delay and damage what they carry.

Whatever happens to one frame or one connection: every online client gets every message once, in
order and within two seconds, the last one too; no reply is lost; nothing is stored twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.support.deadline import until
from tests.support.link_proxy import (
    HEADER_BYTES,
    NO_PARTITION,
    CutError,
    Kind,
    LinkFrame,
    LinkProxy,
    Way,
    untouched,
)
from tests.support.link_session import MEMBERS, LinkSession
from tests.support.seeds import seeded_random
from tests.support.server import Server

# The proxy runs in the tests' own loop, and one server serves them all.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

# Frames of one direction that a round of mixed traffic makes, at least; and where to stop.
FRAMES_MIN = 12
FRAMES_MAX = 64

DELAY_SECONDS = 0.3


@dataclass(frozen=True)
class Rig:
    """Links that pass through a proxy, and users on both workers."""

    proxy: LinkProxy
    session: LinkSession


@pytest.fixture
def fate(request: pytest.FixtureRequest) -> random.Random:
    return seeded_random(request.node.name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def between(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LinkProxy]:
    """A server with a proxy on its links."""
    # The smallest queue that may be configured: soon overflown.
    # What overflows here are links, not the queues of clients.
    flags = ("--link-queue-bytes", "1MiB", "--send-queue-bytes", "16MiB")
    server = Server(tmp_path_factory.mktemp("links"), *flags)
    async with server, LinkProxy(server) as proxy:
        yield proxy
        assert server.read_ready() == server.ready, "no worker was replaced"


@pytest_asyncio.fixture(loop_scope="module")
async def rig(between: LinkProxy, fate: random.Random) -> AsyncIterator[Rig]:
    between.reset()
    async with LinkSession(between.server, fate) as session:
        yield Rig(between, session)


class Once:
    """A policy that does something to one frame: the first that `wanted` takes."""

    def __init__(
        self, wanted: Callable[[LinkFrame], bool], act: Callable[[LinkFrame], bytes]
    ) -> None:
        self._wanted = wanted
        self._act = act
        self.done: LinkFrame | None = None

    def __call__(self, frame: LinkFrame) -> bytes:
        if self.done is None and self._wanted(frame):
            self.done = frame
            return self._act(frame)
        return frame.encoded()

    def __str__(self) -> str:
        if self.done is None:
            return "nothing was done to any frame"
        return f"{self.done.kind.name} {self.done.number} {self.done.way.value} {self.done.owner}"


def nth(way: Way, owner: int, n: int) -> Callable[[LinkFrame], bool]:
    """Take the n-th frame from now on of one direction of one link; 1 is the first."""
    left = n

    def wanted(frame: LinkFrame) -> bool:
        nonlocal left
        if (frame.way, frame.owner) == (way, owner):
            left -= 1
        return left == 0

    return wanted


def dropped(_frame: LinkFrame) -> bytes:
    return b""


def twice(frame: LinkFrame) -> bytes:
    return frame.encoded() * 2


def delaying(proxy: LinkProxy) -> Callable[[LinkFrame], bytes]:
    """Hold back what follows a frame for a while."""

    def act(frame: LinkFrame) -> bytes:
        proxy.stall(frame.way)
        asyncio.get_running_loop().call_later(DELAY_SECONDS, proxy.resume, frame.way)
        return frame.encoded()

    return act


def cut_within(fate: random.Random) -> Callable[[LinkFrame], bytes]:
    def act(frame: LinkFrame) -> bytes:
        raw = frame.encoded()
        raise CutError(raw[: fate.randrange(len(raw))])

    return act


@pytest.mark.parametrize("way", Way)
async def test_any_one_frame_that_is_dropped_is_made_good(
    rig: Rig, fate: random.Random, way: Way
) -> None:
    """From the greeting of new links on, each frame in turn, until there are no more."""
    for number in range(1, FRAMES_MAX + 1):
        owner = fate.randrange(2)
        policy = Once(nth(way, owner, number), dropped)
        rig.proxy.policy = policy
        rig.proxy.cut()
        await rig.session.mixed_round(policy, owner=owner)
        if policy.done is None:
            break
    print(f"dropped each of the first {number} frames {way.value}")
    assert number > FRAMES_MIN
    rig.proxy.policy = untouched
    await rig.session.check()


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("fault", ["twice", "cut", "delay"])
async def test_frames_that_come_twice_late_or_in_part_do_no_harm(
    rig: Rig, fate: random.Random, way: Way, fault: str
) -> None:
    acts = {"twice": twice, "cut": cut_within(fate), "delay": delaying(rig.proxy)}
    for number in sorted(fate.sample(range(1, FRAMES_MIN + 1), 8)):
        owner = fate.randrange(2)
        policy = Once(nth(way, owner, number), acts[fault])
        rig.proxy.policy = policy
        await rig.session.mixed_round(policy, owner=owner)
        await until(lambda policy=policy: policy.done, f"frame {number} {way.value}")
    rig.proxy.policy = untouched
    await rig.session.mixed_round("after the faults")
    await rig.session.check()


@pytest.mark.parametrize("way", Way)
async def test_damaged_header_breaks_the_link_and_is_made_good(
    rig: Rig, fate: random.Random, way: Way
) -> None:
    """One bit of every byte of the header in turn, of whatever frame comes then."""
    for at in range(HEADER_BYTES):
        bit = fate.randrange(8)

        def damaged(frame: LinkFrame, at: int = at, bit: int = bit) -> bytes:
            raw = bytearray(frame.encoded())
            raw[at] ^= 1 << bit
            return bytes(raw)

        print(f"flip bit {bit} of byte {at}")
        owner = fate.randrange(2)
        policy = Once(nth(way, owner, fate.randint(1, FRAMES_MIN)), damaged)
        rig.proxy.policy = policy
        dialled = rig.proxy.dialled
        await rig.session.mixed_round(policy, owner=owner)
        await until(
            lambda policy=policy, dialled=dialled: policy.done and rig.proxy.dialled > dialled,
            "the damage and another link",
        )
    rig.proxy.policy = untouched
    await rig.session.mixed_round("after the damage")
    await rig.session.check()


@pytest.mark.parametrize("kind", [Kind.COMMAND, Kind.QUERY, Kind.REPLY, Kind.DELIVER])
async def test_frame_of_an_older_epoch_is_refused(rig: Rig, kind: Kind) -> None:
    """What a replaced owner, or a gateway that has not heard of its successor, sends late."""

    def late_copy(frame: LinkFrame) -> bytes:
        return frame.of_epoch(frame.epoch - 1).encoded() + frame.encoded()

    for owner in (0, 1):
        policy = Once(
            lambda f, owner=owner: (
                f.kind == kind and f.owner == owner and f.partition != NO_PARTITION
            ),
            late_copy,
        )
        rig.proxy.policy = policy
        dialled = rig.proxy.dialled
        await rig.session.mixed_round(policy, owner=owner)
        assert policy.done is not None
        assert rig.proxy.dialled > dialled, "the link is not believed any more"
    rig.proxy.policy = untouched
    await rig.session.check()


LAST = [Kind.COMMAND, Kind.REPLY, Kind.DELIVER, Kind.WATERMARK, Kind.BEAT]


class LastOfItsKind:
    """Drops a frame and all that follows it at once: nothing but a beat shows that it is gone."""

    def __init__(self, kind: Kind, owner: int) -> None:
        self._kind = kind
        self._owner = owner
        self.done: LinkFrame | None = None
        self._over = False

    def __call__(self, frame: LinkFrame) -> bytes:
        if frame.owner != self._owner or self._over:
            return frame.encoded()
        if self.done is None:
            if frame.kind != self._kind:
                return frame.encoded()
            self.done = frame
            return b""
        if frame.way == self.done.way and frame.kind == Kind.WATERMARK:
            # The one that goes with the batch; the next is a beat's.
            self._over = True
            return b""
        return frame.encoded()


@pytest.mark.parametrize("kind", LAST)
@pytest.mark.parametrize("sender", MEMBERS[:2])
async def test_last_frame_of_a_conversation_is_missed_though_nothing_follows(
    rig: Rig, kind: Kind, sender: str
) -> None:
    lost = []
    for owner in (0, 1):
        await rig.proxy.quiet()
        policy = LastOfItsKind(kind, owner)
        rig.proxy.policy = policy
        if kind in (Kind.WATERMARK, Kind.BEAT):
            # These go without a reason; the message then comes upon the gap.
            await until(lambda policy=policy: policy.done, f"a {kind.name}")
        attempt = rig.session.post(sender, {"group": rig.session.groups[owner]}, "the last word")
        await rig.session.settle([attempt], f"{kind.name} to or from owner {owner} dropped")
        lost.append(policy.done)
    assert any(lost), "whoever the owner, no such frame was sent"
    rig.proxy.policy = untouched
    await rig.session.check()


@pytest.mark.parametrize("kind", [Kind.HELLO, Kind.WELCOME])
async def test_greeting_that_is_lost_with_nothing_behind_it_is_repeated(
    rig: Rig, kind: Kind
) -> None:
    for owner in (0, 1):
        policy = Once(lambda f, owner=owner: f.kind == kind and f.owner == owner, dropped)
        rig.proxy.policy = policy
        rig.proxy.cut()
        attempts = rig.session.post_some(4)
        await rig.session.settle(attempts, f"{kind.name} of owner {owner} dropped")
        assert policy.done is not None
    rig.proxy.policy = untouched
    await rig.session.check()


@pytest.mark.parametrize("way", Way)
async def test_ephemeral_message_that_is_lost_is_not_repeated_and_answered(
    rig: Rig, way: Way
) -> None:
    """Loss is allowed, a second copy and a sender who waits for ever are not."""
    kind = Kind.EPHEMERAL if way == Way.TO_OWNER else Kind.DELIVER_EPHEMERAL
    policy = Once(lambda frame: frame.kind == kind, dropped)
    rig.proxy.policy = policy
    clients = rig.session.clients
    for owner in (0, 1):
        body = {"to": {"group": rig.session.groups[owner]}, "json": owner, "ephemeral": True}
        for sender in ("alice", "bob"):
            reply = clients[sender].post("send", body)
            await clients[sender].wait(reply.done, "an answer", timeout=2)
            answer = reply.result()
            assert "sent" in answer or answer["error"]["retryable"], answer
    assert policy.done is not None
    await rig.session.mixed_round("after an ephemeral message was lost")
    for user in MEMBERS:
        seen = [
            (push["message"]["from"], push["message"]["json"])
            for push in clients[user].pushes
            if "message" in push and not push["message"].get("seq")
        ]
        assert len(seen) == len(set(seen)), f"{user} saw one twice: {seen}"
    await rig.session.check()


async def test_link_that_overflows_is_made_good_once_it_flows(rig: Rig) -> None:
    """Worker 0 does not read what owner 1 delivers, until that has no room for more."""
    session = rig.session
    group = {"group": session.groups[1]}
    await rig.proxy.quiet()
    rig.proxy.stall(Way.TO_GATEWAY)
    # 3 MiB into a queue of 1 MiB, by clients of the owner's own worker.
    attempts = [session.post("bob", group, "x" * 12_000) for _ in range(256)]
    for one in attempts:
        assert one.reply is not None
        reply = one.reply
        await session.clients["bob"].wait(reply.done, "an ack in spite of the stall", timeout=5)
    rig.proxy.resume(Way.TO_GATEWAY)
    await session.settle(attempts, "after an overflow")
    await session.mixed_round("after an overflow")
    await session.check()


async def test_requests_over_a_stalled_link_are_answered_in_the_end(rig: Rig) -> None:
    """Owner 1 does not read: what does not fit is refused at once, the rest waits."""
    session = rig.session
    await rig.proxy.quiet()
    rig.proxy.stall(Way.TO_OWNER)
    group = {"group": session.groups[1]}
    attempts = [session.post("alice", group, "x" * 12_000) for _ in range(120)]
    attempts += [session.post("carol", group, "x" * 12_000) for _ in range(120)]
    elsewhere = [session.post("alice", {"group": session.groups[0]}) for _ in range(5)]
    refused = [one for one in attempts if one.error is not None]
    await session.clients["carol"].wait(
        lambda: any(one.error is not None for one in attempts), "a refusal", timeout=10
    )
    rig.proxy.resume(Way.TO_OWNER)
    await session.settle(attempts + elsewhere, "after a stall")
    refused = [one for one in attempts if one.error is not None]
    assert {one.error["name"] for one in refused if one.error} == {"overloaded"}
    assert all(one.sent is not None for one in elsewhere)
    assert sum(one.sent is not None for one in attempts) >= 80, "a MiB of them waited"
    await session.mixed_round("after a stall")
    await session.check()
