"""Topics over Starlette: sets of connections, each sent to in turn. Usage: PORT."""

from __future__ import annotations

import sys
from collections import defaultdict

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

topics: defaultdict[str, set[WebSocket]] = defaultdict(set)


async def serve(websocket: WebSocket) -> None:
    await websocket.accept()
    joined = set()
    try:
        while True:
            message = await websocket.receive_text()
            verb, rest = message[0], message[1:]
            if verb == "s":
                topics[rest].add(websocket)
                joined.add(rest)
                await websocket.send_text("+")
            else:
                topic, _, body = rest.partition("\n")
                for subscriber in list(topics[topic]):
                    await subscriber.send_text(body)
    except WebSocketDisconnect:
        pass
    finally:
        for topic in joined:
            topics[topic].discard(websocket)


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[WebSocketRoute("/ws", serve)]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
        ws_per_message_deflate=False,
        backlog=4096,
    )
