"""A small server in memory, with the faults that clients must survive.

It keeps one log of rows, numbers them per conversation, remembers keys, and pushes rows to
everybody in the conversation, own sessions included. It speaks JSON over WebSocket by the
``websockets`` library, and protobuf over TCP by Google's implementation: no code of the client.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.unit.client.schema_compiler import new, parse

Frame = dict[str, Any]


@dataclass(eq=False)
class Session:
    """One connection that a client made."""

    write: Callable[[Frame], Awaitable[None]]
    close: Callable[[int], Awaitable[None]]
    user: str = ""
    device: str = ""
    sync: str = ""
    received: list[Frame] = field(default_factory=list)


class ModelServer:
    """Faults are attributes that tests set; each is used up or stays as its comment says."""

    def __init__(self) -> None:
        self.rows: list[Frame] = []
        self.keys: dict[tuple[str, str, str], tuple[str, Frame]] = {}
        self.groups: dict[str, list[str]] = {}
        # Every session ever made, the living ones among them.
        self.sessions: list[Session] = []
        self.live: list[Session] = []
        self.pings = 0
        self.heartbeat_ms = 25_000
        # Answers to connect, used up one by one: an error body, or None to accept.
        self.refusals: deque[Frame | None] = deque()
        # Answers to send: an error body instead of storing, used up one by one.
        self.send_errors: deque[Frame] = deque()
        # Store that many sends, but break the connection instead of answering.
        self.break_after_storing = 0
        # Seqs that are not pushed live, once each: gaps.
        self.lost_pushes: set[int] = set()
        # Take no token for one's own: catch up from the start.
        self.foreign_tokens = False
        # Read requests but answer nothing at all.
        self.silent = False
        # Sessions without a token start from now: what was before is not caught up.
        self.forgetful = False
        # Seconds between connected and the catch-up.
        self.catch_up_delay = 0.0
        self.history_errors: deque[Frame] = deque()
        self._websocket: Server | None = None
        self._tcp: asyncio.Server | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[ModelServer]:
        """Serve on free ports of the loopback."""
        async with serve(self._serve_websocket, "127.0.0.1", 0, compression=None) as websocket:
            self._websocket = websocket
            self._tcp = await asyncio.start_server(self._serve_tcp, "127.0.0.1", 0)
            try:
                yield self
            finally:
                for session in list(self.live):
                    await session.close(1001)
                self._tcp.close()

    def url(self, scheme: str = "ws") -> str:
        server = self._websocket if scheme == "ws" else self._tcp
        assert server is not None
        port = next(iter(server.sockets)).getsockname()[1]
        return f"{scheme}://127.0.0.1:{port}"

    async def break_all(self, code: int = 4000) -> None:
        """Close every connection."""
        for session in list(self.live):
            await session.close(code)

    async def push_all(self, frame: Frame) -> None:
        for session in list(self.live):
            await session.write(frame)

    def conversation(self, user: str, to: Frame) -> str:
        if "user" in to:
            return "d." + ".".join(sorted((user, to["user"])))
        return str(to.get("group") or to["conversation"])

    def members(self, conversation: str) -> list[str]:
        return self.groups.get(conversation) or conversation.removeprefix("d.").split(".")

    def rows_of(self, conversation: str) -> list[Frame]:
        return [row for row in self.rows if body_of(row)["conversation"] == conversation]

    async def append(self, kind: str, body: Frame) -> Frame:
        """Number a row, store it and push it."""
        conversation = body["conversation"]
        seq = len(self.rows_of(conversation)) + 1
        row = {kind: {**body, "seq": seq, "messageId": str(10**18 + len(self.rows) + 1)}}
        self.rows.append(row)
        lost = seq in self.lost_pushes
        self.lost_pushes.discard(seq)
        for session in list(self.live):
            if session.user in self.members(conversation) and not lost:
                await session.write(row)
        return row

    async def _serve_websocket(self, websocket: ServerConnection) -> None:
        async def write(frame: Frame) -> None:
            with contextlib.suppress(ConnectionClosed):
                await websocket.send(json.dumps(frame))

        async def close(code: int) -> None:
            await websocket.close(code)

        session = Session(write, close)
        try:
            with contextlib.suppress(ConnectionClosed):
                async for text in websocket:
                    await self._take(session, json.loads(text))
        finally:
            self._gone(session)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write(frame: Frame) -> None:
            data = to_protobuf(frame)
            writer.write(len(data).to_bytes(4, "big") + data)

        async def close(_code: int) -> None:
            writer.close()

        session = Session(write, close)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    length = int.from_bytes(await reader.readexactly(4), "big")
                    await self._take(session, from_protobuf(await reader.readexactly(length)))
        finally:
            self._gone(session)
            writer.close()

    def _gone(self, session: Session) -> None:
        if session in self.live:
            self.live.remove(session)

    async def _take(self, session: Session, frame: Frame) -> None:
        session.received.append(frame)
        if self.silent:
            return
        number = frame.get("id", 0)
        verb = next(name for name in frame if name != "id")
        answer = await getattr(self, f"_{verb}")(session, frame[verb])
        if answer is not None and number:
            await session.write({"id": number, **answer})
        if verb == "connect" and session in self.live:
            await self._catch_up(session)

    async def _connect(self, session: Session, body: Frame) -> Frame:
        refusal = self.refusals.popleft() if self.refusals else None
        if refusal is not None:
            return {"error": refusal}
        session.user = body["token"].partition("-")[0]
        session.device, session.sync = body.get("device", ""), body.get("sync", "")
        self.sessions.append(session)
        self.live.append(session)
        return {
            "connected": {
                "user": session.user,
                "session": f"s{len(self.sessions)}",
                "server": "n1.w0",
                "heartbeatMs": self.heartbeat_ms,
                "serverTimeMs": 5,
                "limits": {"frameBytes": 65536, "bodyBytes": 60000},
            }
        }

    async def _catch_up(self, session: Session) -> None:
        start = 0 if self.foreign_tokens or not session.sync else int(session.sync)
        if self.forgetful and not session.sync:
            start = len(self.rows)
        await asyncio.sleep(self.catch_up_delay)
        for row in self.rows[start:]:
            if session.user in self.members(body_of(row)["conversation"]):
                await session.write(row)
        await session.write({"caughtUp": {"token": str(len(self.rows))}})

    async def _send(self, session: Session, body: Frame) -> Frame | None:
        conversation = self.conversation(session.user, body["to"])
        content = {name: value for name, value in body.items() if name not in ("to", "key")}
        message = {"conversation": conversation, "from": session.user, "timestampMs": 5, **content}
        if body.get("ephemeral"):
            for other in list(self.live):
                if other is not session and other.user in self.members(conversation):
                    await other.write({"message": message})
            return {"sent": {"conversation": conversation, "timestampMs": 5, "duplicate": False}}
        if self.send_errors:
            return {"error": self.send_errors.popleft()}
        key = (conversation, session.user, body["key"])
        payload = json.dumps(content, sort_keys=True)
        if key in self.keys:
            first, sent = self.keys[key]
            if first != payload:
                return {"error": {"code": 3001, "name": "key_conflict"}}
            return {"sent": {**sent, "duplicate": True}}
        row = body_of(await self.append("message", message))
        sent = {
            "conversation": conversation,
            "seq": row["seq"],
            "messageId": row["messageId"],
            "position": f"0-{len(self.rows)}",
            "timestampMs": 5,
        }
        self.keys[key] = (payload, sent)
        if self.break_after_storing:
            self.break_after_storing -= 1
            await session.close(4000)
            return None
        return {"sent": {**sent, "duplicate": False}}

    async def _history(self, _session: Session, body: Frame) -> Frame:
        if self.history_errors:
            return {"error": self.history_errors.popleft()}
        rows = self.rows_of(body["conversation"])
        limit = int(body.get("limit", 50))
        if "after" in body:
            rows = rows[int(body["after"]) :]
            return {"history": {"items": rows[:limit], "more": len(rows) > limit}}
        rows = rows[: int(body.get("before", len(rows) + 1)) - 1]
        return {"history": {"items": rows[-limit:], "more": len(rows) > limit}}

    async def _group(self, session: Session, body: Frame) -> Frame:
        action, arguments = next(iter(body.items()))
        if action == "create":
            conversation = f"g.{arguments['key'][:4]}"
            self.groups[conversation] = [session.user, *arguments.get("members", [])]
        else:
            conversation = arguments["conversation"]
        users = arguments.get("users", [session.user])
        if action == "members":
            members = [
                {"user": user, "role": "member", "joinedSeq": 1}
                for user in self.members(conversation)
            ]
            return {"group": {"conversation": conversation, "members": members, "more": False}}
        if action in ("join", "add"):
            self.groups[conversation] += users
        kind = {"create": "created", "join": "joined", "add": "joined"}.get(action, "left")
        row = await self.append(
            "event",
            {
                "conversation": conversation,
                "type": kind,
                "users": users,
                "by": session.user,
                "timestampMs": 5,
            },
        )
        if action in ("leave", "remove"):
            self.groups[conversation] = [
                user for user in self.members(conversation) if user not in users
            ]
        return {"group": {"conversation": conversation, "seq": body_of(row)["seq"]}}

    async def _conversations(self, session: Session, _body: Frame) -> Frame:
        heads = {body_of(row)["conversation"]: row for row in self.rows}
        items = [
            {
                "conversation": conversation,
                "kind": "direct" if conversation.startswith("d.") else "group",
                "seq": body_of(row)["seq"],
                "last": row,
            }
            for conversation, row in heads.items()
            if session.user in self.members(conversation)
        ]
        return {"conversations": {"items": items, "more": False}}

    async def _ack(self, _session: Session, _body: Frame) -> Frame:
        return {"acked": {}}

    _read = _ack

    async def _refresh(self, _session: Session, _body: Frame) -> Frame:
        return {"refreshed": {"expiresAtMs": 77}}

    async def _ping(self, _session: Session, _body: Frame) -> Frame:
        self.pings += 1
        return {"pong": {"serverTimeMs": 5}}


def body_of(row: Frame) -> Frame:
    """The message or event of a row."""
    body: Frame = next(iter(row.values()))
    return body


def to_protobuf(frame: Frame) -> bytes:
    """Write a server frame with Google's implementation."""
    message = json_format.ParseDict(_content(frame, json.dumps), new("ServerFrame"))
    data: bytes = message.SerializeToString()
    return data


def from_protobuf(data: bytes) -> Frame:
    """Read a client frame with Google's implementation."""
    frame = json_format.MessageToDict(parse("ClientFrame", data))
    result = _content(frame, json.loads)
    assert isinstance(result, dict)
    if "id" in result:
        result["id"] = int(result["id"])
    return result


def _content(value: Any, change: Callable[[Any], Any]) -> Any:
    """Translate bodies: `json` is text in protobuf, `base64` is its `bytes`, headers a list."""
    if isinstance(value, list):
        return [_content(one, change) for one in value]
    if not isinstance(value, dict):
        return value
    result = {}
    for name, inner in value.items():
        if name == "json":
            result["json"] = change(inner)
        elif name == "base64":
            base64.b64decode(inner)
            result["bytes"] = inner
        elif name == "bytes":
            result["base64"] = inner
        elif name == "headers":
            result[name] = _headers(inner)
        else:
            result[name] = _content(inner, change)
    return result


def _headers(headers: Any) -> Any:
    if isinstance(headers, dict):
        return [{"name": name, "value": value} for name, value in headers.items()]
    return {header["name"]: header["value"] for header in headers}
