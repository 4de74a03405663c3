"""`imfast serve` with stub workers and a route table that is a plain memory file.

Usage: stub_server.py OPTION=VALUE…; prints the announcement's ports as JSON.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path

import uvloop

from imfast.config.load import load
from imfast.config.server_settings import ServerSettings
from imfast.errors import StartError
from imfast.observe.logs import configure_logs
from imfast.observe.metrics import Shown
from imfast.supervisor.opened import open_server
from imfast.supervisor.server import Running, run_server
from imfast.supervisor.supervisor import Timing
from imfast.supervisor.zygote import Zygote


class MemoryRouteTable:
    """Heartbeats as 64 little-endian words; clearing sets one to zero."""

    def __init__(self, _buckets: int) -> None:
        self.descriptor = os.memfd_create("stub-routes")
        os.ftruncate(self.descriptor, 64 * 8)

    def clear(self, index: int) -> None:
        os.pwrite(self.descriptor, bytes(8), index * 8)

    def shown(self, index: int) -> Shown:
        return Shown({}, {}, {})

    def beats(self, index: int) -> int:
        return struct.unpack("<Q", os.pread(self.descriptor, 8, index * 8))[0]

    def close(self) -> None:
        os.close(self.descriptor)


def announce(running: Running) -> None:
    print(json.dumps(running.ports), flush=True)


def read(given: dict[str, str]) -> ServerSettings:
    return ServerSettings.read(load(given).settings.document())


def main() -> int:
    configure_logs("info", "json")
    try:
        given = dict(argument.split("=", 1) for argument in sys.argv[1:])
        settings = read(given)
        zygote = Zygote([sys.executable, str(Path(__file__).with_name("stub_worker.py"))])
        with open_server(settings, zygote, make_routes=MemoryRouteTable) as opened:
            return uvloop.run(
                run_server(
                    opened,
                    opened.first_workers(),
                    announce=announce,
                    load=lambda: load(given).settings,
                    timing=Timing(poll_s=0.1, still_s=2.0, terminate_s=0.5),
                )
            )
    except StartError as error:
        print(f"imfast: {error}", file=sys.stderr)
        return error.exit_code


sys.exit(main())
