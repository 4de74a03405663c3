"""Topics of uWebSockets, and a dictionary for single connections. Usage: PORT."""

from __future__ import annotations

import sys
from typing import Any

from socketify import App, AppListenOptions, CompressOptions, OpCode

app = App()
users: dict[str, Any] = {}


def message(ws: Any, text: str, _opcode: OpCode) -> None:
    verb, rest = text[0], text[1:]
    if verb == "s":
        ws.subscribe(rest)
        users[rest] = ws
        ws.send("+", OpCode.TEXT)
        return
    topic, _, body = rest.partition("\n")
    if verb == "b":
        app.publish(topic, body, OpCode.TEXT)
    elif (one := users.get(topic)) is not None:
        one.send(body, OpCode.TEXT)


if __name__ == "__main__":
    app.ws(
        "/ws",
        {
            "compression": CompressOptions.DISABLED,
            "max_payload_length": 64 * 1024,
            # What waits for a slow connection: none is dropped in a closed loop.
            "max_backpressure": 16 * 1024 * 1024,
            "idle_timeout": 120,
            "message": message,
        },
    )
    app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda _config: None)
    app.run()
