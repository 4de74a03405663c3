"""A lasting link to the server: connects, reconnects, and carries requests across breaks."""

from __future__ import annotations

import asyncio
import enum
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from .backoff import Backoff, may_reconnect
from .errors import (
    ConnectionClosedError,
    IMFastError,
    NotAllowedError,
    OutcomeUnknownError,
    ProtocolError,
)
from .models import Connected, Sync
from .options import Options
from .receiver import Receiver
from .requests import Requests
from .session import Ending, Session, open_session
from .transport import TransportClosedError

__all__ = ["Link", "State", "StateListener", "Token"]

_log = logging.getLogger("imfast.client")

_T = TypeVar("_T")

QUICK_ATTEMPTS = 4
"""Attempts to reconnect before delays grow: a quarter of a second, about, with the default base."""

Token = str | Callable[[], str | Awaitable[str]]
"""A token, or what makes one whenever a connection is made or the token is about to expire."""


class State(enum.Enum):
    """Where a client is. ``CATCHING_UP``: connected, what was missed is coming in."""

    CONNECTING = "connecting"
    CATCHING_UP = "catching_up"
    LIVE = "live"
    WAITING = "waiting"
    CLOSED = "closed"


StateListener = Callable[[State], None]


class Link:
    """Keeps one session alive until closed, or until the server says not to come back."""

    def __init__(
        self, url: str, token: Token, device: str | None, sync: Sync, options: Options
    ) -> None:
        self._url = url
        self._token = token
        self._device = device
        self._options = options
        self.receiver = Receiver(sync, limit=options.buffer)
        self.listeners: list[StateListener] = []
        self.state = State.CONNECTING
        # The latest greeting; None before the first.
        self.connected: Connected | None = None
        self._requests = Requests(on_added=self.receiver.wake)
        self._slots = asyncio.Semaphore(options.in_flight)
        self._backoff = Backoff(
            base=options.backoff_base, cap=options.backoff_cap, quick=QUICK_ATTEMPTS
        )
        self._session: Session | None = None
        self._session_count = 0
        # Whether a refused token was already replaced by a fresh one, without success since.
        self._token_renewed = False
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._closing = asyncio.Event()
        self._final: Exception | None = None
        # Why there is no session, for people.
        self._last_why = "not tried yet"

    async def start(self) -> None:
        """Connect. Returns when a session stands, raises why none could be made.

        From then on a break loses nothing: there is something to resume from, a token or the
        server's cursors of the device.
        """
        loop = asyncio.get_running_loop()
        self._first = loop.create_future()
        self._task = loop.create_task(self._run())
        try:
            async with asyncio.timeout(self._options.connect_timeout):
                await asyncio.shield(self._first)
        except TimeoutError:
            why, seconds = self._last_why, self._options.connect_timeout
            await self.close()
            raise ConnectionClosedError(
                f"no connection to {self._url} within {seconds} s: {why}"
            ) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the session and wait until nothing of it is left. Open requests fail."""
        self._closing.set()
        if self._session is not None:
            self._session.end(Ending("closed by the application"))
        if self._task is not None:
            try:
                await asyncio.shield(self._task)
            except asyncio.CancelledError:
                self._task.cancel()
                raise

    async def request(
        self,
        verb: str,
        body: Mapping[str, Any],
        reply: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  covers reconnections
        repeatable: bool = True,
    ) -> Mapping[str, Any]:
        """Send a request and return its answer, over as many connections as it takes.

        `repeatable` says that doing it twice has the effect of doing it once: it is then written
        again after a break and after a retryable error, until the deadline. Raises
        OutcomeUnknownError at the deadline, IMFastError for an error answer.
        """
        seconds = self._options.request_timeout if timeout is None else timeout
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline), self._slots:
                name, answer = await self._attempts(verb, body, deadline, repeatable=repeatable)
        except OutcomeUnknownError as error:
            error.key = body.get("key")
            raise
        except TimeoutError:
            raise OutcomeUnknownError(
                f"{verb}: no answer within {seconds} s", key=body.get("key")
            ) from None
        if name != reply:
            raise ProtocolError(f"{verb} was answered by {name}")
        return answer

    async def _attempts(
        self, verb: str, body: Mapping[str, Any], deadline: float, *, repeatable: bool
    ) -> tuple[str, Mapping[str, Any]]:
        backoff = Backoff(base=self._options.backoff_base, cap=self._options.backoff_cap)
        while True:
            if self._task is None or self._task.done() or self._closing.is_set():
                raise self._final or ConnectionClosedError("the client is closed")
            request = self._requests.add(verb, body, repeatable=repeatable)
            try:
                if self._session is not None:
                    await self._session.write(request)
                return await request.answer
            except IMFastError as error:
                delay = backoff.next(error.retry_after)
                now = asyncio.get_running_loop().time()
                if not (repeatable and error.retryable) or now + delay >= deadline:
                    raise
            finally:
                self._requests.remove(request)
            await asyncio.sleep(delay)

    async def fresh_token(self) -> str:
        """Return the token to use now."""
        if isinstance(self._token, str):
            return self._token
        token = self._token()
        return await token if inspect.isawaitable(token) else token

    async def refresh(self, token: str | None) -> int:
        """Give the running session a new token; return when that expires, in ms since 1970."""
        if token is not None:
            if isinstance(self._token, str):
                self._token = token
        else:
            token = await self.fresh_token()
        answer = await self.request("refresh", {"token": token}, "refreshed")
        return int(answer.get("expiresAtMs", 0))

    async def _run(self) -> None:
        """Make sessions until told to stop."""
        try:
            while not self._closing.is_set():
                ending = await self._one_session()
                self._last_why = ending.why
                if ending.final is not None:
                    self._final = ending.final
                    break
                if not may_reconnect(ending.code):
                    self._final = ConnectionClosedError(ending.why, code=ending.code)
                    break
                await self._wait(ending)
        except Exception as error:
            _log.exception("the client failed")
            self._final = error
        finally:
            self._finish()

    async def _one_session(self) -> Ending:
        """Make one session and serve it to its end."""
        self._set_state(State.CONNECTING)
        self._session_count += 1
        try:
            session = await self._until_closing(self._open())
        except IMFastError as error:
            return self._refused(error)
        except TransportClosedError as error:
            return Ending(str(error), error.code, floor=error.retry_after)
        except ProtocolError as error:
            return Ending(f"the server broke the protocol: {error}")
        except TimeoutError:
            return Ending("no answer to connect")
        if session is None:
            return Ending("closed by the application")
        self._session = session
        self.connected = session.connected
        self._token_renewed = False
        self._set_state(State.CATCHING_UP)
        if self.receiver.token or self._device:
            self._started()
        # Without either there is nothing to catch up, so the first token comes at once.
        if self._closing.is_set():
            session.end(Ending("closed by the application"))
        try:
            ending = await session.run()
            # Over TCP a token that expired is said by an error frame before the end.
            if isinstance(ending.final, IMFastError):
                ending = self._refused(ending.final)
            return ending
        finally:
            self._session = None
            self._requests.fail(
                OutcomeUnknownError("the connection broke before the answer"),
                unrepeatable_of=session.number,
            )

    async def _open(self) -> Session:
        connect = {"token": await self.fresh_token()}
        if self._device:
            connect["device"] = self._device
        if self.receiver.token:
            connect["sync"] = self.receiver.token
        return await open_session(
            self._url,
            connect,
            number=self._session_count,
            requests=self._requests,
            receiver=self.receiver,
            options=self._options,
            on_live=self._live,
            refresh=lambda: self.refresh(None),
        )

    def _refused(self, error: IMFastError) -> Ending:
        """Decide what an error answer to connect means."""
        if error.retryable:
            return Ending(str(error), floor=error.retry_after)
        if (
            isinstance(error, NotAllowedError)
            and not isinstance(self._token, str)
            and not self._token_renewed
        ):
            # The token may have expired on its way; a second refusal is final.
            self._token_renewed = True
            return Ending(str(error))
        return Ending(str(error), final=error)

    async def _wait(self, ending: Ending) -> None:
        if ending.at_once:
            return
        delay = self._backoff.next(ending.floor)
        _log.info("connection ended (%s), next attempt in %.2f s", ending.why, delay)
        self._set_state(State.WAITING)
        await self._until_closing(asyncio.sleep(delay))

    async def _until_closing(self, work: Coroutine[Any, Any, _T]) -> _T | None:
        """Do `work`, or stop it and return None when the client is being closed."""
        task = asyncio.ensure_future(work)
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait((task, closing), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            closing.cancel()
            await asyncio.gather(task, closing, return_exceptions=True)

    def _live(self) -> None:
        self._backoff.reset()
        self._set_state(State.LIVE)
        self._started()

    def _started(self) -> None:
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    def _finish(self) -> None:
        error = self._final or ConnectionClosedError("the client is closed")
        self._requests.fail(error)
        self.receiver.end(self._final)
        if self._first is not None and not self._first.done():
            self._first.set_exception(error)
            self._first.exception()  # start() may have stopped waiting for it
        self._set_state(State.CLOSED)

    def _set_state(self, state: State) -> None:
        if state is self.state:
            return
        self.state = state
        for listener in tuple(self.listeners):
            try:
                listener(state)
            except Exception:
                _log.exception("a state listener failed")
