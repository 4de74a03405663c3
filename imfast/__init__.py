"""imfast: a self-hosted instant-messaging backend, and its asyncio client.

Names are imported when they are first used: a worker does not pay for the client, and a client
needs no native module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imfast.client import connect as connect
    from imfast.server_api import AsyncServerAPI as AsyncServerAPI
    from imfast.server_api import ServerAPI as ServerAPI

    __version__: str

__all__ = ["AsyncServerAPI", "ServerAPI", "__version__", "connect"]


def __getattr__(name: str) -> object:
    if name == "connect":
        from imfast.client import connect

        return connect
    if name in {"AsyncServerAPI", "ServerAPI"}:
        from imfast import server_api

        return getattr(server_api, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("imfast")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
