"""Listening sockets, one set a worker, kept by the supervisor over every restart."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imfast.errors import ConfigError, PortBusyError

__all__ = [
    "Address",
    "Links",
    "Listeners",
    "close_unix",
    "listen",
    "listen_unix",
    "open_links",
    "resolve",
]

LINK_BACKLOG = 4096
"""Workers that wait for a worker to accept their links, also while it is replaced."""

TCP_NOTSENT_LOWAT = 25
"""From linux/tcp.h; Python names it from 3.12 on."""

SUN_PATH_BYTES_MAX = 107
"""Longest path of a Unix socket: sun_path of 108 bytes less its terminator (unix(7))."""

BUSY_PATIENCE_S = 2.0
"""How long a busy port is tried again: after a kill the kernel may still be closing our last
workers' sockets."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on."""

    family: socket.AddressFamily
    host: str

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback


def resolve(host: str) -> Address:
    """Turns a name or number into the address to listen on.

    Raises:
        ConfigError: it names nothing.
    """
    if not host:
        raise ConfigError("option host: '': names no address; 0.0.0.0 or :: stands for all")
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(f"option host: {host!r}: names no address: {error}") from None
    family, _, _, _, address = found[0]
    return Address(family, str(address[0]))


def listen(
    address: Address,
    port: int,
    count: int,
    *,
    option: str,
    backlog: int = LINK_BACKLOG,
    unsent_bytes: int | None = None,
    patience_s: float = BUSY_PATIENCE_S,
) -> list[socket.socket]:
    """Makes `count` sockets that share one port; the kernel spreads connections over them.

    Port 0: the kernel chooses for the first, the others join it. `option` names the option in
    error messages. Up to `backlog` connections wait on each for a worker, also while it is
    replaced; the kernel may lower it. The kernel takes up to `unsent_bytes` for a connection that
    sends faster than its reader reads; without it, megabytes. The sockets do not block.

    Raises:
        PortBusyError: the port is in use or may not be used.
    """
    sockets: list[socket.socket] = []
    try:
        if port:
            _require_free(address, port, patience_s)
        for _ in range(count):
            listener = _bound(address, port, shared=count > 1)
            sockets.append(listener)
            if unsent_bytes is not None:
                # Connections inherit it (tcp(7)), so that it costs no call for each of them.
                listener.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, unsent_bytes)
            listener.listen(backlog)
            listener.setblocking(False)
            port = listener.getsockname()[1]
    except OSError as error:
        for listener in sockets:
            listener.close()
        raise PortBusyError(_refusal(address, port, option, error)) from None
    return sockets


def _bound(address: Address, port: int, *, shared: bool) -> socket.socket:
    listener = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        # A port whose last connections are in TIME_WAIT is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((address.host, port))
    except BaseException:
        listener.close()
        raise
    return listener


def _require_free(address: Address, port: int, patience_s: float) -> None:
    """Fails with EADDRINUSE where somebody listens, be it another server of ours.

    SO_REUSEPORT alone would let two servers of one user share a port, and clients would reach
    either. A socket without it cannot be bound beside a listening one.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            _bound(address, port, shared=False).close()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise
            time.sleep(0.005)
        else:
            return


def _refusal(address: Address, port: int, option: str, error: OSError) -> str:
    where = f"option {option}: {address.host} port {port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where}: in use by another program; choose another port, or 0 for any"
    if error.errno == errno.EACCES:
        return f"{where}: not allowed for this user; choose one from 1024"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: not an address of this machine"
    return f"{where}: {error.strerror}"


def listen_unix(path: Path, mode: int, *, backlog: int) -> socket.socket:
    """Makes a listening Unix socket for clients. The file of a killed server is taken over.

    Raises:
        ConfigError: the path cannot be used.
        PortBusyError: somebody listens there.
    """
    where = f"option unix_path: {path}"
    if len(os.fsencode(path)) > SUN_PATH_BYTES_MAX:
        raise ConfigError(f"{where}: longer than {SUN_PATH_BYTES_MAX} bytes")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path, where)
        # Nobody connects between the socket's appearance and its permissions.
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(backlog)
        listener.setblocking(False)
        path.chmod(mode)
    except OSError as error:
        listener.close()
        raise ConfigError(f"{where}: {error.strerror}") from None
    except BaseException:
        listener.close()
        raise
    return listener


def close_unix(listener: socket.socket, path: Path) -> None:
    """Closes what `listen_unix` made, and removes its file."""
    listener.close()
    with suppress(OSError):
        path.unlink()


def _remove_stale(path: Path, where: str) -> None:
    """Removes a socket on which nobody listens. Anything else is somebody's."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{where}: is there already, and no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # its queue is full: somebody is there
    raise PortBusyError(f"{where}: in use by another program")


@dataclass(frozen=True, slots=True)
class Listeners:
    """The clients' ways in: element i belongs to worker i."""

    http: Sequence[socket.socket]
    tcp: Sequence[socket.socket]
    tls: Sequence[socket.socket] = ()
    """Empty without TLS."""
    unix: socket.socket | None = None
    """Of all workers."""

    @property
    def ports(self) -> dict[str, int]:
        """The ports in use, whoever chose them."""
        each = {"http": self.http, "tcp": self.tcp, "tls": self.tls}
        return {name: of[0].getsockname()[1] for name, of in each.items() if of}

    @property
    def descriptors(self) -> list[int]:
        """What every worker inherits: its own, and its siblings' to adopt."""
        return [listener.fileno() for listener in self._all()]

    def close(self) -> None:
        """Closes the supervisor's side; a port is free once all workers closed theirs."""
        for listener in self._all():
            listener.close()

    def _all(self) -> list[socket.socket]:
        unix = () if self.unix is None else (self.unix,)
        return [*self.http, *self.tcp, *self.tls, *unix]


class Links:
    """One listening Unix socket a worker, for the links between workers."""

    def __init__(
        self, sockets: Sequence[socket.socket], paths: Sequence[Path], temporary: Path | None
    ) -> None:
        self.sockets = tuple(sockets)
        self.paths = tuple(paths)
        self._temporary = temporary

    def close(self) -> None:
        """Closes the sockets and removes their files."""
        for listener, path in zip(self.sockets, self.paths, strict=True):
            listener.close()
            path.unlink(missing_ok=True)
        if self._temporary is not None:
            import shutil

            shutil.rmtree(self._temporary, ignore_errors=True)


def open_links(data_directory: Path, workers: int) -> Links:
    """Makes the links' sockets below the data directory, which is locked and therefore ours.

    Where that path is too long for a Unix socket, a private temporary directory holds them.

    Raises:
        OSError: the directory cannot be written.
    """
    directory = data_directory / "run"
    longest = directory / f"w{workers - 1}.sock"
    temporary: Path | None = None
    if len(os.fsencode(longest)) <= SUN_PATH_BYTES_MAX:
        directory.mkdir(mode=0o700, exist_ok=True)
        directory.chmod(0o700)
    else:
        import tempfile  # rarely needed, and slow to load

        directory = temporary = Path(tempfile.mkdtemp(prefix="imfast-"))
    sockets: list[socket.socket] = []
    paths = [directory / f"w{index}.sock" for index in range(workers)]
    try:
        for path in paths:
            with suppress(FileNotFoundError):  # left by a server that was killed
                path.unlink()
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sockets.append(listener)
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(LINK_BACKLOG)
            listener.setblocking(False)
    except BaseException:
        Links(sockets, paths[: len(sockets)], temporary).close()
        raise
    return Links(sockets, paths, temporary)
