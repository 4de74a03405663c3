"""The control channel's lines."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from imfast.errors import ExitCode
from imfast.supervisor.control import ControlChannel, ControlError, Fatal, Ready


async def read(*lines: bytes) -> list[Ready | Fatal]:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"".join(lines))
    theirs.close()
    control = await ControlChannel.open(ours)
    try:
        return [message async for message in control.messages()]
    finally:
        control.close()


async def test_worker_says_ready_and_fatal():
    ready = b'{"ready": true, "partitions": [0, 2], "epochs": {"0": 3, "2": 5}}\n'
    fatal = b'{"fatal": "segment 7 is damaged", "exit": 7}\n'
    assert await read(ready, fatal) == [
        Ready(partitions=(0, 2), epochs={0: 3, 2: 5}),
        Fatal("segment 7 is damaged", ExitCode.DATA_DAMAGED),
    ]


@pytest.mark.parametrize("code", [None, 0, 99, "7", 7.5])
async def test_fatal_without_a_known_exit_code_means_worker_failed(code: object):
    line = json.dumps({"fatal": "x", "exit": code}).encode() + b"\n"
    [fatal] = await read(line)
    assert isinstance(fatal, Fatal)
    assert fatal.exit_code is ExitCode.WORKER_FAILED


async def test_half_a_line_of_a_killed_worker_is_no_message():
    assert await read(b'{"ready": tr') == []


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"not json\n",
        b"[]\n",
        b"7\n",
        b"{}\n",
        b'{"ready": 1}\n',
        b'{"ready": true}\n',
        b'{"ready": true, "partitions": 1, "epochs": {}}\n',
        b'{"ready": true, "partitions": [], "epochs": {"x": 1}}\n',
        b"x" * (2 << 20) + b"\n",
    ],
)
async def test_what_is_no_control_line_is_an_error(line: bytes):
    ours, theirs = socket.socketpair()
    control = await ControlChannel.open(ours)
    loop = asyncio.get_running_loop()
    theirs.setblocking(False)
    writing = loop.create_task(loop.sock_sendall(theirs, line))
    with pytest.raises(ControlError):
        async for _ in control.messages():
            pass
    writing.cancel()
    control.close()
    theirs.close()


async def test_supervisor_writes_one_object_a_line():
    ours, theirs = socket.socketpair()
    control = await ControlChannel.open(ours)
    control.drain(2.5)
    control.adopt(1)
    control.release(1)
    lines = [json.loads(line) for line in theirs.recv(4096).splitlines()]
    assert lines == [{"drain": 2.5}, {"adopt": 1}, {"release": 1}]
    control.close()
    control.adopt(2)  # a dying worker's channel: nobody listens, nothing fails
    theirs.close()
