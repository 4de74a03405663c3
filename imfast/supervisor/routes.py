"""The shared route table as the supervisor uses it: make, clear a column, read heartbeats."""

from __future__ import annotations

import os
from typing import Protocol

from imfast.errors import StartError
from imfast.observe.metrics import Shown

__all__ = ["EngineRouteTable", "RouteTable"]


class RouteTable(Protocol):
    """The supervisor's view of the table."""

    descriptor: int
    """Shared memory; workers inherit it."""

    def clear(self, index: int) -> None:
        """Removes a dead worker from every route. Call it after the reaping, before a successor."""

    def beats(self, index: int) -> int:
        """How often the worker's engine has reported since the table was made."""

    def shown(self, index: int) -> Shown:
        """What the worker and those before it have counted, and its present numbers."""

    def close(self) -> None:
        """Closes the supervisor's descriptor; workers keep theirs."""


class EngineRouteTable:
    """The engine's table."""

    def __init__(self, buckets: int) -> None:
        # Imported here: nothing else of the command line needs the native module.
        try:
            from imfast import _engine
        except ImportError as error:
            raise StartError(f"the native module is not there ({error}): `make build`") from None
        self._engine = _engine
        self.descriptor: int = _engine.create_route_table(buckets)

    def clear(self, index: int) -> None:
        """See `RouteTable`."""
        self._engine.clear_worker(self.descriptor, index)

    def beats(self, index: int) -> int:
        """See `RouteTable`."""
        return self._engine.heartbeat(self.descriptor, index)

    def shown(self, index: int) -> Shown:
        """See `RouteTable`."""
        return Shown(*self._engine.worker_metrics(self.descriptor, index))

    def close(self) -> None:
        """See `RouteTable`."""
        os.close(self.descriptor)
