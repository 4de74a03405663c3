"""What can be set on a client besides where and who."""

from __future__ import annotations

import ssl as ssl_module
from dataclasses import dataclass

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """Times are in seconds."""

    # WebSocket only: protobuf in binary messages instead of JSON. TCP is always protobuf.
    protobuf: bool = False
    # Entering the context fails when no connection stood within this time.
    connect_timeout: float = 10.0
    # One attempt, from the first packet to `connected`.
    attempt_timeout: float = 10.0
    # How long a request waits for its answer, reconnections included, unless the call says.
    request_timeout: float = 30.0
    # Delays between attempts: uniform up to base for the first five, then up to base * 2^n; at most
    # cap.
    backoff_base: float = 0.1
    backoff_cap: float = 20.0
    # Updates that wait for the application before reading stops.
    buffer: int = 1024
    # Requests without an answer; further calls wait. Servers take 1,024 per connection by default,
    # heartbeats and repairs of gaps included.
    in_flight: int = 512
    # An upper bound for the heartbeat; the server's is used where it is shorter.
    heartbeat: float = 25.0
    # For wss:// and tls://; None is the system's default context.
    ssl: ssl_module.SSLContext | None = None

    def __post_init__(self) -> None:
        for name in (
            "connect_timeout",
            "attempt_timeout",
            "request_timeout",
            "backoff_base",
            "backoff_cap",
            "buffer",
            "in_flight",
            "heartbeat",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name)!r}: must be greater than 0")
