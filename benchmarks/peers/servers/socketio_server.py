"""Rooms of python-socketio. Usage: PORT."""

from __future__ import annotations

import sys

import socketio
import uvicorn

server = socketio.AsyncServer(
    async_mode="asgi",
    transports=["websocket"],
    logger=False,
    engineio_logger=False,
    http_compression=False,
    cors_allowed_origins="*",
)


@server.event
async def join(sid: str, topic: str) -> None:
    await server.enter_room(sid, topic)


@server.event
async def fan(_sid: str, topic: str, body: str) -> None:
    await server.emit("m", body, room=topic)


@server.event
async def to(_sid: str, topic: str, body: str) -> None:
    await server.emit("m", body, room=topic)


if __name__ == "__main__":
    uvicorn.run(
        socketio.ASGIApp(server),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
        ws_per_message_deflate=False,
        backlog=4096,
    )
