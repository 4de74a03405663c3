"""Topics of wse-server in drain mode. Usage: PORT."""

from __future__ import annotations

import sys

from wse_server import RustWSEServer

EVENTS_A_TURN = 4096
WAIT_MS = 50


def main() -> None:
    server = RustWSEServer(
        "127.0.0.1",
        int(sys.argv[1]),
        max_connections=65_536,
        rate_limit_capacity=1e9,
        rate_limit_refill=1e9,
    )
    server.enable_drain_mode()
    server.start()
    users: dict[str, str] = {}
    while server.is_running():
        for kind, connection, payload, *_ in server.drain_inbound(EVENTS_A_TURN, WAIT_MS):
            if kind != "raw":
                continue
            verb, rest = payload[0], payload[1:]
            if verb == "s":
                server.subscribe_connection(connection, [rest])
                users[rest] = connection
                server.send(connection, "+")
                continue
            topic, _, body = rest.partition("\n")
            if verb == "b":
                server.broadcast_local(topic, body)
            elif topic in users:
                server.send(users[topic], body)


if __name__ == "__main__":
    main()
