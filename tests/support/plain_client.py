"""A client from the public ``websockets`` package alone: it knows JSON and nothing of ours."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.deadline import until
from tests.support.server import Server

__all__ = ["DisconnectedError", "PlainClient", "RefusedError", "body_of"]

Frame = dict[str, Any]

# Connections tried before a wanted worker is taken for unreachable; the kernel picks at random.
ATTEMPTS_MAX = 64


class DisconnectedError(Exception):
    """The connection ended before the answer."""


class RefusedError(Exception):
    """An error frame."""

    def __init__(self, error: Frame) -> None:
        super().__init__(error)
        self.code: int = error["code"]
        self.name: str = error["name"]
        self.retryable: bool = error.get("retryable", False)


class PlainClient:
    """One session. Records every push; gives every request its reply."""

    def __init__(self, websocket: ClientConnection, user: str) -> None:
        self.user = user
        self.server = ""
        self.limits: dict[str, int] = {}
        self.heartbeat_ms = 0
        # Our end of the connection.
        self.port: int = websocket.local_address[1]
        # Every push, in the order of arrival.
        self.pushes: list[Frame] = []
        # The latest sync token.
        self.sync = ""
        # The close code, when the connection has ended.
        self.close_code: int | None = None
        self.closed = asyncio.Event()
        self.caught_up = asyncio.Event()
        self._websocket = websocket
        self._ids = itertools.count(1)
        self._open: dict[int, asyncio.Future[Frame]] = {}
        self._arrived = asyncio.Event()
        self._writes: set[asyncio.Task[None]] = set()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def connect(
        cls,
        server: Server,
        user: str,
        *,
        worker: int | None = None,
        device: str = "",
        sync: str = "",
        token: str | None = None,
        receive_bytes: int = 0,
    ) -> PlainClient:
        """Connect, on the worker of that index if one is wanted.

        `receive_bytes` is what the kernel may hold for us unread; 0: what it likes.
        """
        token = token if token is not None else await server.token(user)
        wanted = None if worker is None else server.worker(worker).server
        body = {"token": token} | {
            name: value for name, value in (("device", device), ("sync", sync)) if value
        }
        for _ in range(ATTEMPTS_MAX):
            client = await cls.dial(server, user, receive_bytes)
            reply = await client.request("connect", body)
            client.server = reply["connected"]["server"]
            client.limits = reply["connected"]["limits"]
            client.heartbeat_ms = reply["connected"]["heartbeatMs"]
            if wanted in (None, client.server):
                return client
            await client.close()
        raise AssertionError(f"no connection reached {wanted} in {ATTEMPTS_MAX} attempts")

    @classmethod
    async def dial(cls, server: Server, user: str = "", receive_bytes: int = 0) -> PlainClient:
        """Open a WebSocket without authenticating."""
        ours = socket.socket()
        ours.setblocking(False)
        if receive_bytes:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        await asyncio.get_running_loop().sock_connect(ours, ("127.0.0.1", server.ready.http))
        websocket = await connect(
            f"ws://127.0.0.1:{server.ready.http}/v1/ws",
            sock=ours,
            compression=None,
            max_size=None,
            max_queue=None,
            ping_interval=None,
            proxy=None,
        )
        return cls(websocket, user)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close in an orderly way, and wait for the end."""
        self.go_on()
        await self._websocket.close()
        await self._reader

    async def drop(self) -> None:
        """Break the connection without a word."""
        self._websocket.transport.abort()
        await self._reader

    def stall(self) -> None:
        """Read nothing until `go_on`."""
        self._websocket.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        self._websocket.transport.resume_reading()

    def post(self, verb: str, body: Frame) -> asyncio.Future[Frame]:
        """Write a request without waiting; the future is its reply."""
        [future] = self.post_all((verb, body))
        return future

    def post_all(self, *requests: tuple[str, Frame]) -> list[asyncio.Future[Frame]]:
        """Write several requests as one WebSocket message: they are pipelined for certain."""
        loop = asyncio.get_running_loop()
        texts, futures = [], []
        for verb, body in requests:
            number = next(self._ids)
            self._open[number] = future = loop.create_future()
            # A test may have no use for the reply; a broken connection is then no news.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            texts.append(json.dumps({"id": number, verb: body}))
            futures.append(future)
        if self.closed.is_set():
            self._fail()
        else:
            task = asyncio.create_task(self.write("".join(texts)))
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)
        return futures

    async def write(self, message: str | bytes) -> None:
        """Write a message as it is."""
        with contextlib.suppress(ConnectionClosed):
            await self._websocket.send(message)

    async def request(self, verb: str, body: Frame, *, timeout: float = 15.0) -> Frame:
        """Send a request and return its reply; raises RefusedError for an error."""
        async with asyncio.timeout(timeout):
            reply = await self.post(verb, body)
        if "error" in reply:
            raise RefusedError(reply["error"])
        return reply

    async def send(self, to: Frame, key: str, content: Any, *, timeout: float = 15.0) -> Frame:
        """Send a message durably and return the body of `sent`."""
        body = {"to": to, "key": key, "json": content}
        sent: Frame = (await self.request("send", body, timeout=timeout))["sent"]
        return sent

    async def create_group(self, key: str, *members: str) -> str:
        """Make a group of this user and others; return its id."""
        body = {"create": {"key": key, "title": key, "members": list(members)}}
        conversation: str = (await self.request("group", body))["group"]["conversation"]
        return conversation

    async def history(self, conversation: str, *, page: int = 50) -> list[Frame]:
        """Read a whole conversation, page by page from its start."""
        rows: list[Frame] = []
        after, more = 0, True
        while more:
            body = {"conversation": conversation, "after": after, "limit": page}
            history = (await self.request("history", body))["history"]
            rows += history["items"]
            more = history["more"]
            assert history["items"] or not more, "an empty page says that there are more"
            after = body_of(rows[-1])["seq"] if rows else 0
        return rows

    async def conversations(self) -> list[str]:
        """Read the ids of all conversations of this user, page by page."""
        found: list[str] = []
        more = True
        while more:
            body: Frame = {"limit": 20} | ({"after": found[-1]} if found else {})
            page = (await self.request("conversations", body))["conversations"]
            found += [item["conversation"] for item in page["items"]]
            more = page["more"]
            assert page["items"] or not more, "an empty page says that there are more"
        assert len(set(found)) == len(found), "a conversation is listed twice"
        return found

    def rows(self, conversation: str | None = None) -> list[Frame]:
        """The numbered rows pushed so far, of one conversation or all."""
        return [
            push
            for push in self.pushes
            if ("message" in push or "event" in push)
            and body_of(push).get("seq")
            and conversation in (None, body_of(push)["conversation"])
        ]

    async def wait(self, look: Callable[[], Any], what: str, *, timeout: float = 15.0) -> None:
        """Wait until `look`, which reads what was pushed, is true."""
        try:
            async with asyncio.timeout(timeout):
                while not look():
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(
                f"{self.user} on {self.server}: not within {timeout} s: {what}"
            ) from None

    async def wait_rows(self, conversation: str, count: int, *, timeout: float = 15.0) -> None:
        """Wait until that many rows of a conversation were pushed."""
        await self.wait(
            lambda: len(self.rows(conversation)) >= count,
            f"{count} rows of {conversation}",
            timeout=timeout,
        )

    async def wait_seq(self, conversation: str, seq: int, *, timeout: float = 15.0) -> None:
        """Wait until the row with that seq of a conversation was pushed."""
        await self.wait(
            lambda: any(body_of(row)["seq"] == seq for row in self.rows(conversation)),
            f"row {seq} of {conversation}",
            timeout=timeout,
        )

    async def wait_closed(self, *, timeout: float = 15.0) -> int | None:
        """Wait for the server to end the connection; return the close code."""
        await until(self.closed.is_set, f"the end of {self.user}'s connection", timeout=timeout)
        return self.close_code

    async def _read(self) -> None:
        decode = json.JSONDecoder().raw_decode
        try:
            async for message in self._websocket:
                assert isinstance(message, str), "a JSON connection has text messages"
                offset = 0
                while offset < len(message):
                    frame, offset = decode(message, offset)
                    self._take(frame)
        except ConnectionClosed:
            pass
        finally:
            self.close_code = self._websocket.close_code
            self.closed.set()
            self._fail()
            self._arrived.set()

    def _take(self, frame: Frame) -> None:
        number = frame.get("id", 0)
        if number:
            future = self._open.pop(number, None)
            assert future is not None, f"a second reply to one request: {frame}"
            if not future.done():
                future.set_result(frame)
            self._arrived.set()
            return
        self.pushes.append(frame)
        for name in ("caughtUp", "checkpoint"):
            if name in frame:
                self.sync = frame[name]["token"]
        if "caughtUp" in frame:
            self.caught_up.set()
        self._arrived.set()

    def _fail(self) -> None:
        for future in self._open.values():
            if not future.done():
                future.set_exception(DisconnectedError(self.user))
        self._open.clear()


def body_of(row: Frame) -> Frame:
    """The message or event of a row."""
    body: Frame = row.get("message") or row["event"]
    return body
