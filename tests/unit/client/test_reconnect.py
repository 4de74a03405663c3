"""Breaks, refusals, dead peers, gaps, slow applications: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace

import pytest

from imfast.client import (
    ConflictError,
    ConnectionClosedError,
    Expired,
    IMFast,
    KickedError,
    LimitError,
    Message,
    NotAllowedError,
    OutcomeUnknownError,
    ServerError,
    State,
    connect,
)
from tests.unit.client.conftest import QUICK, Connect
from tests.unit.client.model_server import ModelServer

CONVERSATION = "d.alice.bob"
UNAVAILABLE = {"code": 5002, "name": "partition_unavailable", "retryable": True}
REFUSED = {"code": 2002, "name": "token_invalid", "retryable": False}


async def texts(im: IMFast, count: int) -> list[str | None]:
    """The texts of the next messages."""
    async with asyncio.timeout(10):
        updates = [await anext(im) for _ in range(count)]
    return [update.text for update in updates if isinstance(update, Message)]


async def wait_for(state: State, im: IMFast, *, other: bool = False) -> None:
    """Wait until the client is in `state`, or in any other."""
    changed = asyncio.Event()
    remove = im.on_state(lambda _: changed.set())
    async with asyncio.timeout(5):
        while (im.state is state) is other:
            changed.clear()
            await changed.wait()
    remove()


async def test_send_that_a_break_left_unanswered_is_repeated_with_its_key(
    server: ModelServer, client: Connect
) -> None:
    server.break_after_storing = 1
    async with client() as alice:
        sent = await alice.send("bob", text="once")
        assert (sent.seq, sent.duplicate) == (1, True)
        assert len(server.rows) == 1
        assert len(server.sessions) == 2


async def test_sends_are_repeated_in_their_order(server: ModelServer, client: Connect) -> None:
    async with client() as alice:
        await alice.ping()
        server.silent = True
        sends = [asyncio.create_task(alice.send("bob", text=str(n))) for n in range(20)]
        await asyncio.sleep(0.05)
        server.silent = False
        await server.break_all()
        results = await asyncio.gather(*sends)
    assert [sent.seq for sent in results] == list(range(1, 21))
    assert [row["message"]["text"] for row in server.rows] == [str(n) for n in range(20)]


async def test_what_was_missed_comes_once_after_a_break(
    server: ModelServer, client: Connect
) -> None:
    async with client("bob") as bob, client("alice") as alice:
        await alice.send("bob", text="1")
        assert await texts(bob, 1) == ["1"]
        await server.break_all()
        for n in range(2, 6):
            await alice.send("bob", text=str(n))
        assert await texts(bob, 4) == ["2", "3", "4", "5"]


async def test_repeats_of_a_catch_up_from_the_start_are_dropped(
    server: ModelServer, client: Connect
) -> None:
    server.foreign_tokens = True
    async with client("bob") as bob, client("alice") as alice:
        await alice.send("bob", text="1")
        assert await texts(bob, 1) == ["1"]
        await server.break_all()
        await alice.send("bob", text="2")
        assert await texts(bob, 1) == ["2"]


async def test_resumes_from_the_last_token(server: ModelServer, client: Connect) -> None:
    async with client("bob") as bob:
        await wait_for(State.LIVE, bob)
        await server.push_all({"checkpoint": {"token": "0"}})
        await bob.ping()
        await server.push_all({"checkpoint": {"token": "00"}})
        await bob.ping()
        await server.break_all()
        await bob.ping()
    assert [session.sync for session in server.sessions] == ["", "00"]


async def test_what_is_sent_after_the_start_survives_a_break_that_follows_at_once(
    server: ModelServer, client: Connect
) -> None:
    """A client without a token has started only when it holds one to come back with."""
    server.forgetful, server.catch_up_delay = True, 0.05
    async with client("bob") as bob:
        await server.break_all()
        await server.append("message", {"conversation": CONVERSATION, "from": "alice", "text": "1"})
        assert await texts(bob, 1) == ["1"]


async def test_gap_is_filled_from_history_and_holds_the_token_back(
    server: ModelServer, client: Connect
) -> None:
    async with client("bob") as bob, client("alice") as alice:
        await alice.send("bob", text="1")
        server.lost_pushes = {2, 3}
        server.history_errors.append({**UNAVAILABLE, "retryAfterMs": 100})
        for n in range(2, 6):
            await alice.send("bob", text=str(n))
        await server.push_all({"checkpoint": {"token": "5"}})
        assert await texts(bob, 5) == ["1", "2", "3", "4", "5"]
        await bob.ping()
        assert bob.sync.token == "5"
        assert bob.sync.heads == {CONVERSATION: 5}


async def test_gap_that_a_break_interrupts_is_caught_up(
    server: ModelServer, client: Connect
) -> None:
    async with client("bob") as bob, client("alice") as alice:
        await alice.send("bob", text="1")
        assert await texts(bob, 1) == ["1"]
        server.lost_pushes = {2}
        server.history_errors.extend([{**UNAVAILABLE, "retryAfterMs": 60_000}] * 9)
        await alice.send("bob", text="2")
        await alice.send("bob", text="3")
        await server.push_all({"checkpoint": {"token": "3"}})
        await bob.ping()
        assert bob.sync.token != "3", "3 is not applied yet"
        await server.break_all()
        assert await texts(bob, 2) == ["2", "3"]


async def test_gap_that_may_not_be_read_is_not_ours(server: ModelServer, client: Connect) -> None:
    async with client("bob") as bob, client("alice") as alice:
        await alice.send("bob", text="1")
        server.lost_pushes = {2}
        server.history_errors.append({"code": 2006, "name": "not_a_member"})
        await alice.send("bob", text="2")
        await alice.send("bob", text="3")
        assert await texts(bob, 2) == ["1", "3"]


async def test_expired_rows_are_told(server: ModelServer, client: Connect) -> None:
    async with client("bob") as bob, client("alice") as alice:
        await alice.send("bob", text="1")
        await anext(bob)
        await server.push_all({"expired": {"conversation": CONVERSATION, "fromSeq": 2, "toSeq": 4}})
        assert await anext(bob) == Expired(CONVERSATION, 2, 4)


async def test_retryable_error_is_tried_again_after_the_servers_wish(
    server: ModelServer, client: Connect
) -> None:
    server.send_errors.append({**UNAVAILABLE, "retryAfterMs": 50})
    loop = asyncio.get_running_loop()
    async with client() as alice:
        start = loop.time()
        assert (await alice.send("bob", text="1")).seq == 1
        assert loop.time() - start >= 0.05


async def test_retryable_error_is_raised_when_the_deadline_is_nearer_than_the_wish(
    server: ModelServer, client: Connect
) -> None:
    server.send_errors.append(
        {"code": 4003, "name": "rate_limited", "retryable": True, "retryAfterMs": 9000}
    )
    async with client() as alice:
        with pytest.raises(LimitError) as caught:
            await alice.send("bob", text="1", timeout=1)
        assert caught.value.retry_after == 9.0


async def test_error_that_is_final_is_raised_at_once(client: Connect) -> None:
    async with client() as alice:
        first = await alice.send("bob", text="1", key="k")
        again = await alice.send("bob", text="1", key="k")
        assert (again.seq, again.message_id, again.duplicate) == (1, first.message_id, True)
        with pytest.raises(ConflictError, match="3001 key_conflict"):
            await alice.send("bob", text="other", key="k")


async def test_deadline_says_the_outcome_is_unknown_and_names_the_key(
    server: ModelServer, client: Connect
) -> None:
    async with client() as alice:
        server.silent = True
        with pytest.raises(OutcomeUnknownError) as caught:
            await alice.send("bob", text="1", key="k7", timeout=0.05)
        assert caught.value.key == "k7"


async def test_ephemeral_send_is_not_repeated(server: ModelServer, client: Connect) -> None:
    async with client() as alice:
        server.silent = True
        sending = asyncio.create_task(alice.send("bob", text="…", ephemeral=True))
        await asyncio.sleep(0.05)
        server.silent = False
        await server.break_all()
        with pytest.raises(OutcomeUnknownError, match="broke"):
            await sending
        await alice.ping()
    frames = [frame for session in server.sessions for frame in session.received]
    assert len([frame for frame in frames if "send" in frame]) == 1


async def test_cancelled_send_leaves_the_client_usable(
    server: ModelServer, client: Connect
) -> None:
    async with client() as alice:
        server.silent = True
        sending = asyncio.create_task(alice.send("bob", text="1"))
        await asyncio.sleep(0.02)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        server.silent = False
        assert (await alice.send("bob", text="2")).seq == 1


@pytest.mark.parametrize("code", [4500, 4999, 1002])
async def test_close_code_that_forbids_it_ends_the_client(
    server: ModelServer, client: Connect, code: int
) -> None:
    async with client() as alice:
        await server.break_all(code)
        with pytest.raises(ConnectionClosedError) as caught:
            await anext(alice)
        assert caught.value.code == code
        with pytest.raises(ConnectionClosedError):
            await alice.send("bob", text="1")
        assert alice.state is State.CLOSED
    assert len(server.sessions) == 1


async def test_kick_ends_the_client(server: ModelServer, client: Connect) -> None:
    async with client() as alice:
        await server.push_all({"kicked": {"reason": "bye"}})
        with pytest.raises(KickedError, match="bye"):
            await anext(alice)


async def test_goaway_is_obeyed_and_a_send_made_meanwhile_waits(
    server: ModelServer, client: Connect
) -> None:
    loop = asyncio.get_running_loop()
    async with client() as alice:
        await wait_for(State.LIVE, alice)
        start = loop.time()
        await server.push_all({"goaway": {"reconnectAfterMs": 100}})
        await wait_for(State.LIVE, alice, other=True)
        assert (await alice.send("bob", text="1")).seq == 1
        assert loop.time() - start >= 0.1
    assert len(server.sessions) == 2


async def test_refused_token_fails_the_start(server: ModelServer, client: Connect) -> None:
    server.refusals.append(REFUSED)
    with pytest.raises(NotAllowedError, match="2002"):
        async with client():
            pass


async def test_refused_token_is_replaced_once_by_the_callable(server: ModelServer) -> None:
    made: list[str] = []

    async def token() -> str:
        made.append("alice")
        return "alice"

    server.refusals.extend([REFUSED, None])
    async with connect(server.url(), token=token, options=QUICK) as im:
        assert im.connected.user == "alice"
    assert len(made) == 2
    server.refusals.extend([REFUSED, REFUSED])
    with pytest.raises(NotAllowedError):
        async with connect(server.url(), token=token, options=QUICK):
            pass


async def test_expiring_token_is_refreshed_by_the_callable(server: ModelServer) -> None:
    async with connect(server.url(), token=lambda: "alice", options=QUICK) as im:
        await server.push_all({"tokenExpiring": {"expiresAtMs": 5}})
        await im.ping()
        await im.ping()
    assert [frame["refresh"] for frame in server.sessions[0].received if "refresh" in frame] == [
        {"token": "alice"}
    ]


async def test_callable_that_raises_fails_the_start(server: ModelServer) -> None:
    def token() -> str:
        raise LookupError("no token here")

    with pytest.raises(LookupError):
        async with connect(server.url(), token=token, options=QUICK):
            pass


async def test_retryable_refusal_is_waited_out(server: ModelServer, client: Connect) -> None:
    server.refusals.append({**UNAVAILABLE, "retryAfterMs": 50})
    async with client() as alice:
        assert alice.connected.user == "alice"


async def test_server_that_is_not_there_fails_the_start_with_the_reason() -> None:
    options = replace(QUICK, connect_timeout=0.2)
    with pytest.raises(ConnectionClosedError, match=r"within 0.2 s: .*[Cc]onnect"):
        async with connect("tcp://127.0.0.1:1", token="alice", options=options):
            pass


async def test_server_that_says_nothing_fails_the_start() -> None:
    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(ignore, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    options = replace(QUICK, connect_timeout=0.3, attempt_timeout=0.1)
    with pytest.raises(ConnectionClosedError, match="no answer to connect"):
        async with connect(f"tcp://127.0.0.1:{port}", token="alice", options=options):
            pass
    listener.close()
    await listener.wait_closed()


async def test_dead_peer_is_noticed_and_left(server: ModelServer, client: Connect) -> None:
    async with client(options=replace(QUICK, heartbeat=0.1)) as alice:
        await wait_for(State.LIVE, alice)
        server.silent = True
        await wait_for(State.LIVE, alice, other=True)
        server.silent = False
        await alice.ping()
    assert len(server.sessions) >= 2


async def test_idle_client_pings_at_the_servers_pace(server: ModelServer, client: Connect) -> None:
    server.heartbeat_ms = 100
    async with client() as alice:
        await wait_for(State.LIVE, alice)
        await asyncio.sleep(0.5)
        assert alice.state is State.LIVE
    assert server.pings >= 3
    assert len(server.sessions) == 1


async def test_own_loop_that_stood_still_is_no_silence_of_the_server(
    server: ModelServer, client: Connect
) -> None:
    async with client(options=replace(QUICK, heartbeat=0.1)) as alice:
        await wait_for(State.LIVE, alice)
        for _ in range(3):
            time.sleep(0.3)  # noqa: ASYNC251 - the application holds the loop up
            await alice.ping()
    assert len(server.sessions) == 1


async def test_slow_application_stops_the_reading_and_gets_everything(
    server: ModelServer, client: Connect
) -> None:
    slow = replace(QUICK, buffer=4, heartbeat=0.1)
    async with client("bob", options=slow) as bob, client("alice") as alice:
        await asyncio.gather(*(alice.send("bob", text=str(n)) for n in range(300)))
        await asyncio.sleep(0.5)
        assert len(bob._link.receiver.inbox) <= 8
        assert sorted(await texts(bob, 300), key=lambda text: int(text or "")) == [
            str(n) for n in range(300)
        ]
        assert bob.sync.heads == {CONVERSATION: 300}
    assert len([session for session in server.sessions if session.user == "bob"]) == 1


async def test_application_that_only_sends_keeps_its_memory_bounded(
    server: ModelServer, client: Connect
) -> None:
    """Its own messages come back too; it takes none until the end, and then misses none."""
    async with client(options=replace(QUICK, buffer=4)) as alice:
        for n in range(100):
            await alice.send("bob", text=str(n))
        assert len(alice._link.receiver.inbox) <= 8
        assert await texts(alice, 100) == [str(n) for n in range(100)]


async def test_client_closed_while_reconnecting_leaves_nothing(
    server: ModelServer, client: Connect
) -> None:
    async with client(options=replace(QUICK, backoff_base=30.0, backoff_cap=30.0)) as alice:
        sending = asyncio.create_task(alice.send("bob", text="1"))
        await sending
        server.refusals.extend([UNAVAILABLE] * 50)
        await server.break_all()
        await wait_for(State.WAITING, alice)
        waiting = asyncio.create_task(alice.send("bob", text="2"))
        await asyncio.sleep(0.01)
    with pytest.raises(ConnectionClosedError):
        await waiting


async def test_close_that_is_cancelled_still_ends_the_client(
    server: ModelServer, client: Connect
) -> None:
    alice = client()
    await alice.__aenter__()
    closing = asyncio.create_task(alice.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await wait_for(State.CLOSED, alice)


async def test_state_listener_that_fails_harms_nobody(client: Connect) -> None:
    alice = client()

    def fail(state: State) -> None:
        raise RuntimeError(state)

    alice.on_state(fail)
    async with alice:
        await alice.ping()


@pytest.mark.parametrize("seed", range(4))
async def test_random_faults_lose_nothing_and_repeat_nothing(
    server: ModelServer, client: Connect, seed: int
) -> None:
    """Breaks, lost pushes, foreign tokens and errors while two users talk."""
    fate = random.Random(seed)
    async with client("alice") as alice, client("bob", options=replace(QUICK, buffer=8)) as bob:

        async def talk(im: IMFast, to: str) -> list[int]:
            return [(await im.send(to, text=f"{to} {n}")).seq for n in range(60)]

        async def trouble() -> None:
            while True:
                await asyncio.sleep(fate.uniform(0.0, 0.03))
                match fate.randrange(5):
                    case 0:
                        await server.break_all(fate.choice([4000, 1011, 4003]))
                    case 1:
                        server.break_after_storing = 1
                    case 2:
                        server.lost_pushes = {len(server.rows) + fate.randrange(1, 4)}
                    case 3:
                        server.foreign_tokens = fate.random() < 0.5
                    case 4:
                        server.send_errors.append(UNAVAILABLE)

        faults = asyncio.create_task(trouble())
        talking = asyncio.gather(talk(alice, "bob"), talk(bob, "alice"))
        views = []
        async with asyncio.timeout(30):
            views = await asyncio.gather(*(collect(im, 120) for im in (alice, bob)))
            acknowledged = await talking
        faults.cancel()
    assert views[0] == views[1]
    assert [seq for seq, _ in views[0]] == list(range(1, 121))
    assert sorted(acknowledged[0] + acknowledged[1]) == list(range(1, 121))
    assert len(server.rows) == 120


async def collect(im: IMFast, count: int) -> list[tuple[int, str | None]]:
    updates = [await anext(im) for _ in range(count)]
    return [(one.seq, one.text) for one in updates if isinstance(one, Message)]


async def test_error_of_the_server_is_raised_at_the_deadline(
    server: ModelServer, client: Connect
) -> None:
    server.send_errors.extend([UNAVAILABLE] * 1000)
    async with client() as alice:
        with pytest.raises((ServerError, OutcomeUnknownError)):
            await alice.send("bob", text="1", timeout=0.2)
