"""Sockets that outlive their workers."""

from __future__ import annotations

import socket
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from imfast.errors import ConfigError, ExitCode, PortBusyError
from imfast.supervisor.listeners import Address, listen, open_links, resolve

LOOPBACK = Address(socket.AF_INET, "127.0.0.1")
UNSENT_BYTES = 65_536


def close(sockets: list[socket.socket]) -> None:
    for listener in sockets:
        listener.close()


def test_workers_join_the_port_that_the_kernel_chose():
    sockets = listen(LOOPBACK, 0, 4, option="port")
    ports = {listener.getsockname()[1] for listener in sockets}
    close(sockets)
    assert len(ports) == 1
    assert 0 not in ports


def test_connection_holds_no_more_unsent_than_its_listener_was_told():
    [listener] = listen(LOOPBACK, 0, 1, option="port", unsent_bytes=UNSENT_BYTES)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            accepted.setblocking(False)
            taken = 0
            with suppress(BlockingIOError):
                while taken <= 2 * UNSENT_BYTES:
                    taken += accepted.send(bytes(4096))
    close([listener])
    # What was sent lies with the reader; the last write may go over the bound by itself.
    assert UNSENT_BYTES <= taken <= 2 * UNSENT_BYTES


@pytest.mark.parametrize("count", [1, 2])
def test_port_of_another_server_of_ours_is_busy(count: int):
    # Both would set SO_REUSEPORT, and the kernel would let them share.
    sockets = listen(LOOPBACK, 0, 2, option="port")
    port = sockets[0].getsockname()[1]
    try:
        with pytest.raises(PortBusyError, match=f"option port: 127.0.0.1 port {port}: in use") as e:
            listen(LOOPBACK, port, count, option="port", patience_s=0.1)
    finally:
        close(sockets)
    assert e.value.exit_code == ExitCode.PORT_BUSY
    close(listen(LOOPBACK, port, count, option="port"))


def test_address_of_another_machine_is_refused():
    with pytest.raises(PortBusyError, match="not an address of this machine"):
        listen(Address(socket.AF_INET, "192.0.2.1"), 0, 1, option="port")


@pytest.mark.parametrize("host", ["", "no such host", "a" * 300])
def test_name_of_nothing_is_refused(host: str):
    with pytest.raises(ConfigError, match=r"option host: .* names no address"):
        resolve(host)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("::", False)],  # noqa: S104
)
def test_loopback_is_told_from_what_others_reach(host: str, expected: bool):
    assert resolve(host).is_loopback is expected


def test_links_are_private_and_replace_what_a_killed_server_left(tmp_path: Path):
    killed = open_links(tmp_path, 2)
    close(list(killed.sockets))  # what a kill does: the files stay
    links = open_links(tmp_path, 2)
    assert stat.S_IMODE(links.paths[0].parent.stat().st_mode) == 0o700
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(links.paths[1]))
        connection, _ = links.sockets[1].accept()
        connection.close()
    links.close()
    assert list((tmp_path / "run").iterdir()) == []


def test_links_move_to_a_temporary_directory_when_the_path_is_too_long(tmp_path: Path):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    links = open_links(deep, 1)
    parent = links.paths[0].parent
    assert parent != deep / "run"
    assert stat.S_IMODE(parent.stat().st_mode) == 0o700
    links.close()
    assert not parent.exists()
