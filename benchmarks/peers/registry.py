"""Every peer there is: a new one is one module and one line here."""

from __future__ import annotations

from benchmarks.peers.centrifugo import Centrifugo
from benchmarks.peers.mosquitto import Mosquitto
from benchmarks.peers.nats import Nats
from benchmarks.peers.peer import Peer
from benchmarks.peers.python_socketio import PythonSocketIo
from benchmarks.peers.socketify_uws import Socketify
from benchmarks.peers.starlette_uvicorn import StarletteUvicorn
from benchmarks.peers.websockets_broadcast import WebsocketsBroadcast
from benchmarks.peers.wse import WseServer

__all__ = ["PEERS"]

PEERS: tuple[Peer, ...] = (
    Socketify(),
    WseServer(),
    Nats(),
    Centrifugo(),
    WebsocketsBroadcast(),
    StarletteUvicorn(),
    PythonSocketIo(),
    Mosquitto(),
)
