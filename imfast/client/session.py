"""One connection's life: handshake, frames in, requests out, heartbeat, and why it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .codec import Frame
from .errors import IMFastError, KickedError, ProtocolError
from .models import Connected, HistoryPage, Update
from .options import Options
from .order import Gap, seq_of
from .receiver import RECEIVED, Receiver
from .requests import Request, Requests, error_from_wire
from .transport import Transport, TransportClosedError, open_transport

__all__ = ["Ending", "Session", "open_session"]

_log = logging.getLogger("imfast.client")

_HISTORY_PAGE: Final = 100
# How long a session that was told to go away waits for answers under way.
_GOAWAY_SECONDS: Final = 1.0
# Pause before history is asked again for a gap after a retryable error without a wish.
_FILL_RETRY_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a session ended. ``final`` is the error to give up with; else reconnect."""

    why: str
    code: int | None = None
    # Seconds that the server wants us to wait before we come back.
    floor: float = 0.0
    final: Exception | None = None
    # Come back without any delay: we ended it ourselves to start again from the token.
    at_once: bool = False


async def open_session(
    url: str,
    connect: Mapping[str, str],
    *,
    number: int,
    requests: Requests,
    receiver: Receiver,
    options: Options,
    on_live: Callable[[], None],
    refresh: Callable[[], Awaitable[object]],
) -> Session:
    """Connect and authenticate.

    Raises TransportClosedError, ProtocolError, TimeoutError, or IMFastError if the server refuses.
    """
    async with asyncio.timeout(options.attempt_timeout):
        transport = await open_transport(url, protobuf=options.protobuf, ssl=options.ssl)
        try:
            request = requests.next_id()
            await transport.send(transport.encode({"id": request, "connect": dict(connect)}))
            frames: list[Frame] = []
            while not frames:
                frames = await transport.receive()
            first = frames.pop(0)
            if "error" in first:
                raise error_from_wire(first["error"])
            if "connected" not in first or first.get("id") != request:
                raise ProtocolError("the first frame does not answer connect")
            connected = Connected.from_wire(first["connected"])
        except BaseException:
            await transport.close()
            raise
    return Session(
        transport, connected, frames, number, requests, receiver, options, on_live, refresh
    )


class Session:
    """A connection that is authenticated.

    Frames are taken in their order by one task. It stops while the application is behind, except
    when a request waits for an answer: an application that sends from within its receive loop
    must get its answer without receiving first.
    """

    def __init__(
        self,
        transport: Transport,
        connected: Connected,
        frames: list[Frame],
        number: int,
        requests: Requests,
        receiver: Receiver,
        options: Options,
        on_live: Callable[[], None],
        refresh: Callable[[], Awaitable[object]],
    ) -> None:
        self.connected = connected
        self.number = number
        self._transport = transport
        # Frames that came together with `connected`.
        self._frames = frames
        self._requests = requests
        self._receiver = receiver
        self._on_live = on_live
        self._refresh = refresh
        self._heartbeat_seconds = options.heartbeat
        if connected.heartbeat_ms:
            self._heartbeat_seconds = min(options.heartbeat, connected.heartbeat_ms / 1000)
        # Whether new requests may be written: not before the repeated ones, nor after a goaway.
        self._writable = False
        self._paused = False
        self._loop = asyncio.get_running_loop()
        # Loop times of the last frame in either direction.
        self._heard = self._written = self._loop.time()
        # The last frame, if it was an error that answers no request: what a closing connection is
        # closed for.
        self._last_error: IMFastError | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Future[Ending] = self._loop.create_future()

    async def run(self) -> Ending:
        """Serve the connection until it ends; no task is left behind."""
        self._receiver.started()
        self._spawn(self._read())
        self._spawn(self._repeat())
        self._spawn(self._heartbeat())
        try:
            return await self._ending
        finally:
            self._writable = False
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._transport.close()

    def end(self, ending: Ending) -> None:
        """End the session; the first reason counts."""
        if not self._ending.done():
            self._ending.set_result(ending)

    async def write(self, request: Request) -> None:
        """Write a request, unless it has to wait for those before it or for the next session."""
        if self._writable:
            with contextlib.suppress(TransportClosedError):
                await self._write(request)

    async def _write(self, request: Request) -> None:
        request.sent_on = self.number
        self._receiver.wake()
        try:
            data = self._transport.encode(request.frame)
        except (TypeError, ValueError) as error:
            request.answer.set_exception(error)
            return
        limit = self.connected.frame_bytes_max
        if limit and len(data) > limit:
            # The server would close the connection for it.
            request.answer.set_exception(
                ValueError(f"the request has {len(data)} bytes, the server takes {limit}")
            )
            return
        await self._send(data)

    async def _send(self, data: bytes) -> None:
        self._written = self._loop.time()
        try:
            await self._transport.send(data)
        except TransportClosedError as error:
            # Reading comes to the same end, with the close code; it is the one to report it.
            _log.debug("write failed: %s", error)
            raise

    async def _repeat(self) -> None:
        """Write what earlier sessions left unanswered, in its order; then let new ones through."""
        with contextlib.suppress(TransportClosedError):
            while unsent := self._requests.unsent(self.number):
                for request in unsent:
                    await self._write(request)
            self._writable = True

    async def _read(self) -> None:
        frames = self._frames
        while True:
            for frame in frames:
                self._take(frame)
            await self._wait_until_readable()
            frames = await self._transport.receive()
            self._heard = self._loop.time()

    async def _wait_until_readable(self) -> None:
        """Wait while the application is behind; begin again when it has recovered from too much."""
        try:
            while self._receiver.inbox.full and not self._requests.waiting_on(self.number):
                self._paused = True
                await self._receiver.wait_for_change()
        finally:
            if self._paused:
                self._paused = False
                self._heard = self._loop.time()

    def _take(self, frame: Frame) -> None:
        self._last_error = None
        number = frame.get("id", 0)
        for name, body in frame.items():
            if name == "id" or not isinstance(body, dict):
                continue
            if number:
                self._requests.answer(number, name, body)
            elif name in RECEIVED:
                self._push(name, body)
            else:
                self._control(name, body)

    def _push(self, name: str, body: Mapping[str, Any]) -> None:
        overflown = self._receiver.overflown
        gap = self._receiver.push(name, body)
        if gap is not None:
            self._spawn(self._fill(gap))
        if self._receiver.overflown and not overflown:
            self._spawn(self._start_again())

    def _control(self, name: str, body: Mapping[str, Any]) -> None:
        """Take a push that is not for the application. Unknown ones are of a later version."""
        if name == "checkpoint":
            self._receiver.checkpoint(body.get("token", ""))
        elif name == "caughtUp":
            self._receiver.checkpoint(body.get("token", ""))
            self._on_live()
        elif name in ("receipt", "presence"):
            self._receiver.notice(name, body)
        elif name == "tokenExpiring":
            self._spawn(self._refresh_token())
        elif name == "kicked":
            reason = body.get("reason", "")
            self.end(Ending("kicked", final=KickedError(f"kicked by the server: {reason}")))
        elif name == "goaway":
            self._writable = False
            self._spawn(self._leave(float(body.get("reconnectAfterMs", 0)) / 1000))
        elif name == "error":
            self._last_error = error_from_wire(body)

    async def _fill(self, gap: Gap | None) -> None:
        """Fetch the rows of a gap, and of those that show up behind it."""
        while gap is not None:
            after, more = gap.after, True
            while more and after + 1 < gap.before:
                await self._receiver.wait_for_room()
                items, more = await self._history(gap.conversation, after)
                self._receiver.page(gap, items)
                after = max(map(seq_of, items), default=gap.before)
            gap = self._receiver.close_gap(gap)

    async def _history(self, conversation: str, after: int) -> tuple[tuple[Update, ...], bool]:
        while True:
            request = self._requests.add(
                "history",
                {"conversation": conversation, "after": after, "limit": _HISTORY_PAGE},
                repeatable=False,
            )
            try:
                await self._write(request)
                _, body = await request.answer
            except IMFastError as error:
                if not error.retryable:
                    # Not ours to read any more: what is missing is not ours either.
                    return (), False
                await asyncio.sleep(max(error.retry_after, _FILL_RETRY_SECONDS))
            else:
                page = HistoryPage.from_wire(body)
                return page.items, page.more
            finally:
                self._requests.remove(request)

    async def _start_again(self) -> None:
        """After an overflow: when the application has caught up, come back with the token."""
        while not self._receiver.drained:
            await self._receiver.wait_for_change()
        self.end(Ending("the application was too far behind", at_once=True))

    async def _refresh_token(self) -> None:
        try:
            await self._refresh()
        except Exception as error:  # whatever the application's callable raises
            _log.warning("token could not be refreshed: %s", error)

    async def _leave(self, floor: float) -> None:
        if answers := self._requests.waiting_on(self.number):
            await asyncio.wait(answers, timeout=_GOAWAY_SECONDS)
        self.end(Ending("the server is going away", floor=floor))

    async def _heartbeat(self) -> None:
        """Let the server hear us, and notice when it is not there any more."""
        period = self._heartbeat_seconds
        with contextlib.suppress(TransportClosedError):
            while True:
                due = self._loop.time() + period / 2
                await asyncio.sleep(period / 2)
                now = self._loop.time()
                # While our own loop stood still nothing could be heard, nor is it read yet.
                self._heard = min(now, self._heard + max(0.0, now - due))
                if not self._paused and now - self._heard > 1.5 * period:
                    break
                if now - self._written < period / 2 and now - self._heard < period / 2:
                    continue
                try:
                    async with asyncio.timeout(period):
                        await self._ping()
                except TimeoutError:
                    break
            self.end(Ending(f"nothing heard for {1.5 * period:.1f} s"))

    async def _ping(self) -> None:
        # While reading is paused no answer could be seen: id 0 asks for none.
        number = 0 if self._paused else self._requests.next_id()
        await self._send(self._transport.encode({"id": number, "ping": {}}))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        if isinstance(error, TransportClosedError):
            final = self._last_error if error.code is None else None
            if final is not None and final.retryable:
                final = None
            floor = self._last_error.retry_after if self._last_error else 0.0
            self.end(Ending(str(error), error.code, floor, final))
        elif isinstance(error, ProtocolError):
            self.end(Ending(f"the server broke the protocol: {error}"))
        else:
            self.end(Ending("internal error", final=_as_exception(error)))


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(repr(error))
