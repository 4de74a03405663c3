"""Compression between a server that has it switched on and clients that do or do not want it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.typing import Subprotocol

from tests.support.server import Server

BODY = {"text": "the same words, the same words, " * 40}
MEMBERS = ("alice", "bob", "carol")


async def opened(server: Server, user: str, compression: str | None) -> ClientConnection:
    """A session that is attached; `compression` as the package has it."""
    websocket = await connect(
        server.url("ws") + "/v1/ws",
        compression=compression,
        subprotocols=[Subprotocol("imfast.v1.json")],
    )
    token = await server.token(user)
    await websocket.send(json.dumps({"id": 1, "connect": {"token": token, "device": "d"}}))
    await until(websocket, "caughtUp")
    return websocket


async def until(websocket: ClientConnection, verb: str) -> dict[str, Any]:
    async with asyncio.timeout(15):
        while True:
            frame: dict[str, Any] = json.loads(await websocket.recv())
            assert "error" not in frame, frame
            if verb in frame:
                found: dict[str, Any] = frame[verb]
                return found


def is_compressed(websocket: ClientConnection) -> bool:
    return any(isinstance(one, PerMessageDeflate) for one in websocket.protocol.extensions)


async def test_members_with_and_without_compression_get_the_same_message(directory: Path) -> None:
    async with Server(directory, "--compression", "on", workers=1) as server:
        wanted = dict(zip(MEMBERS, ("deflate", "deflate", None), strict=True))
        clients = {user: await opened(server, user, wanted[user]) for user in MEMBERS}
        assert [is_compressed(clients[user]) for user in MEMBERS] == [True, True, False]
        alice = clients["alice"]
        create = {"create": {"key": "k", "members": MEMBERS[1:]}}
        await alice.send(json.dumps({"id": 2, "group": create}))
        group = (await until(alice, "group"))["conversation"]
        for user in MEMBERS:
            send = {"to": {"conversation": group}, "key": user, "json": BODY}
            await clients[user].send(json.dumps({"id": 3, "send": send}))
            received = [await until(clients[other], "message") for other in MEMBERS]
            assert received[0]["json"] == BODY
            assert received[0]["from"] == user
            assert received == [received[0]] * len(MEMBERS)
        for client in clients.values():
            await client.close()


async def test_server_without_the_option_declines(shared: Server) -> None:
    client = await opened(shared, "somebody", "deflate")
    assert not is_compressed(client)
    await client.close()
