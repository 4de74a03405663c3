"""Starlette on uvicorn that answers every `POST /v1/send` with the same JSON. Usage: PORT-FILE.

The least that a Python server does for a request: nothing is checked, stored or sent on.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ANSWER = (
    b'{"conversation":"d.x1","seq":42,"messageId":"7321","position":"0-981",'
    b'"timestampMs":1763899999000}'
)


async def send(request: Request) -> Response:
    """Read the body, which is what every server has to do, and answer."""
    await request.body()
    return Response(ANSWER, media_type="application/json")


def main(port_file: Path) -> None:
    """Serve until killed; the kernel chooses the port, which the file tells."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    temporary = port_file.with_suffix(".new")
    temporary.write_text(str(listener.getsockname()[1]))
    temporary.replace(port_file)
    application = Starlette(routes=[Route("/v1/send", send, methods=["POST"])])
    config = uvicorn.Config(
        application, loop="uvloop", http="httptools", access_log=False, log_level="error"
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
