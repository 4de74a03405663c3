"""Topics over `websockets`: sets of connections and `broadcast`. Usage: PORT."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

topics: defaultdict[str, set[ServerConnection]] = defaultdict(set)


async def handle(websocket: ServerConnection) -> None:
    joined = set()
    try:
        async for message in websocket:
            verb, rest = message[0], message[1:]
            if verb == "s":
                topics[rest].add(websocket)
                joined.add(rest)
                await websocket.send("+")
                continue
            topic, _, body = rest.partition("\n")
            if verb == "b":
                broadcast(topics[topic], body)
            else:
                for one in topics[topic]:
                    await one.send(body)
    except ConnectionClosed:
        pass
    finally:
        for topic in joined:
            topics[topic].discard(websocket)


async def main() -> None:
    async with serve(handle, "127.0.0.1", int(sys.argv[1]), compression=None, backlog=4096):
        await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(main())
