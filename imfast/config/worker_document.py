"""What the supervisor tells a worker at its start, and how the two speak afterwards.

**Start.** A worker is forked from the zygote, ``python -P -m imfast.worker``; see
imfast.worker.zygote. The last descriptor that it is given is a pipe to whose end it reads the
`WorkerDocument` as JSON: at once, or, where the worker is a spare, when another one has died. An
end without a document means that the spare is not needed. All other descriptors are named in the
document and set non-blocking:

- `http[i]`, `tcp[i]`, `tls[i]`: the listening sockets of worker i, for every i; `tls` is empty
  without TLS. A worker accepts on its own, and on a sibling's while it is told to adopt them.
- `unix`: the listening Unix socket for clients, which all workers accept on; -1 without one.
- `links`: its own listening Unix socket, of those of all that it is given; worker i is reached at
  `link_paths[i]`. The socket stays open over restarts: who connects while the worker is away waits
  in its accept queue.
- Consumers (option `after_commit`) ask worker i at `feed_path(link_paths[i])`; it makes that.
- `control`: a connected Unix stream socket, one JSON object a line.
- `routes`: the shared route table.

**Control**, worker → supervisor::

    {"ready": true, "partitions": [0, 2], "epochs": {"0": 3, "2": 3}}
    {"faults": {"inbox_full": 3}}     # totals since its start, whenever one has changed
    {"report": {"commit": {…}, "tick": {…}, "counters": {…}}}        # the answer to `report`
    {"ask": {"number": 3, "question": {"sessions": ["default", "alice"]}}}   # of all workers
    {"told": {"number": 8, "answer": []}}                            # the answer to `asked`
    {"fatal": "partition 0: segment 7 is damaged at …", "exit": 7}   # a restart would not cure it

supervisor → worker::

    {"drain": 10.0}    # stop accepting, close all listening sockets, send clients away, spread
                       # over at most so many seconds, finish, exit with 0
    {"retire": 10.0}   # the same, but others still send to its partitions: a successor waits
    {"adopt": 1}       # also accept on http[1] and tcp[1]
    {"release": 1}     # no longer
    {"report": true}   # say how it goes
    {"tls": {…}}       # accept TLS connections with these credentials from now on
    {"asked": {"number": 8, "question": {"sessions": ["default", "alice"]}}}
    {"answered": {"number": 3, "answer": {"answers": [[], []], "missing": 0, "failed": ""}}}

Questions are `sessions`, `disconnect`, `stats`, and `change`, a change of the revocations, which
the supervisor makes durable before it asks.

The end of the stream means that the supervisor is gone: exit at once.

**Heartbeat.** The engine raises this worker's counter in the route table at least twice a second,
also while it replays. A counter that stands still for 3 s (30 s before the first `ready`) gets the
worker killed and replaced.

**Signals.** SIGTERM and SIGINT are blocked when a worker starts, so that it does not die by one
before it can do better. It lets them through once it has handlers.

**Parent.** A worker sets PR_SET_PDEATHSIG to SIGKILL as soon as it has its document, then exits if
its parent is not `supervisor_pid`: the supervisor may have died before the call. It is the
supervisor's child, not the zygote's.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from imfast.config.worker_settings import WorkerSettings

__all__ = [
    "PARTITIONS_MAX",
    "STOP_SIGNALS",
    "Layout",
    "WorkerDocument",
    "WorkerSockets",
    "feed_path",
    "partitions_of",
]

PARTITIONS_MAX = 256
"""The shared table of positions has this many places."""


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Blocked when a worker starts."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What was fixed when the data directory was made; see supervisor.layout."""

    partitions: int
    generation: int
    """Part of every sync token; a restore or a change of partitions raises it."""
    hash_secret: str
    """16 bytes in hex; keys the hashes of names that clients choose."""


@dataclass(frozen=True, slots=True)
class WorkerSockets:
    """Descriptor numbers, valid in the worker."""

    http: tuple[int, ...]
    tcp: tuple[int, ...]
    links: int
    control: int
    routes: int
    tls: tuple[int, ...] = ()
    unix: int = -1


@dataclass(frozen=True, slots=True)
class WorkerDocument:
    """Everything that a worker knows when it starts."""

    index: int
    """0 to workers - 1; its bit in a route's mask."""
    incarnation: int
    """1 for the first worker of this index since the server started, +1 for each successor."""
    server: str
    """What clients see in `connected`: ``n1.w0``."""
    workers: int
    partitions: tuple[int, ...]
    """The partitions this worker owns."""
    supervisor_pid: int
    link_paths: tuple[str, ...]
    fds: WorkerSockets
    layout: Layout
    options: Mapping[str, Any]
    """All of them as `Settings.document` writes them; those that the supervisor resolves are."""
    tls: Mapping[str, Any] | None = None
    """What TLS connections are accepted with, as `imfast.config.tls_credentials` has it."""
    settings: WorkerSettings = field(init=False)
    """Of these, what a worker uses."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", WorkerSettings.read(self.options))

    def encode(self) -> bytes:
        """The document as JSON."""
        return orjson.dumps(
            {
                "index": self.index,
                "incarnation": self.incarnation,
                "server": self.server,
                "workers": self.workers,
                "partitions": self.partitions,
                "supervisor_pid": self.supervisor_pid,
                "link_paths": self.link_paths,
                "fds": asdict(self.fds),
                "layout": asdict(self.layout),
                "options": self.options,
                "tls": self.tls,
            }
        )

    @classmethod
    def decode(cls, text: bytes) -> WorkerDocument:
        """Reads what `encode` wrote. Both sides are of one version: a mistake here is ours."""
        fields: dict[str, Any] = orjson.loads(text)
        fds = fields.pop("fds")
        return cls(
            partitions=tuple(fields.pop("partitions")),
            link_paths=tuple(fields.pop("link_paths")),
            fds=WorkerSockets(
                http=tuple(fds.pop("http")),
                tcp=tuple(fds.pop("tcp")),
                tls=tuple(fds.pop("tls")),
                **fds,
            ),
            layout=Layout(**fields.pop("layout")),
            **fields,
        )

    @classmethod
    def read(cls, descriptor: int) -> WorkerDocument | None:
        """Reads the document from an inherited descriptor and closes it; waits until it is there.

        None when there will be none: the worker was a spare, and is not needed any more.
        """
        with os.fdopen(descriptor, "rb") as file:
            text = file.read()
        return cls.decode(text) if text else None


def feed_path(link_path: str) -> str:
    """Where a worker serves readers of the outbox: beside its link, under a name no longer."""
    return link_path.removesuffix(".sock") + ".feed"


def partitions_of(index: int, workers: int, partitions: int) -> tuple[int, ...]:
    """The partitions that worker `index` owns: every `workers`-th, starting with its own number."""
    return tuple(range(index, partitions, workers))
