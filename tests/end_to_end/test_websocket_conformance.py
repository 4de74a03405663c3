"""The WebSocket codec against RFC 6455 and RFC 7692, case by case, over a raw socket.

The families follow Autobahn's fuzzing client (1 framing, 2 pings, 3 reserved bits, 4 opcodes,
5 fragmentation, 6 UTF-8, 7 close, 9 limits, 12 and 13 compression), but the cases are ours. What
that suite calls "non-strict" fails here. To run the suite itself, which needs Python 2.7::

    pip install autobahntestsuite
    imfast dev-echo --port 9001 &
    wstest -m fuzzingclient -s fuzzingclient.json

with ``{"outdir": "reports", "servers": [{"url": "ws://127.0.0.1:9001"}], "cases": ["*"]}`` in
that file. Version 25.10.1 has 517 cases; at the time of writing 514 were OK and 3 informational.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

HANDSHAKE = (
    "GET /any/path HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
TIMEOUT_SECONDS = 10.0
MASK = bytes.fromhex("37fa213d")
TAIL = b"\x00\x00\xff\xff"

FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(first: int, payload: bytes = b"") -> bytes:
    """A client's frame with `first` as its first byte."""
    length = len(payload)
    if length < 126:
        head = bytes([first, 0x80 | length])
    elif length < 1 << 16:
        head = bytes([first, 0x80 | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, 0x80 | 127]) + length.to_bytes(8, "big")
    mask = (MASK * (length // 4 + 1))[:length]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return head + MASK + masked.to_bytes(length, "big")


def text(payload: str | bytes, fin: bool = True) -> bytes:
    encoded = payload.encode() if isinstance(payload, str) else payload
    return frame((FIN if fin else 0) | TEXT, encoded)


def binary(payload: bytes, fin: bool = True) -> bytes:
    return frame((FIN if fin else 0) | BINARY, payload)


def go_on(payload: str | bytes, fin: bool = False) -> bytes:
    encoded = payload.encode() if isinstance(payload, str) else payload
    return frame((FIN if fin else 0) | CONTINUATION, encoded)


def ping(payload: bytes = b"") -> bytes:
    return frame(FIN | PING, payload)


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(FIN | CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def deflated(payload: bytes, window_bits: int = 15) -> bytes:
    """A message's compressed form (RFC 7692 section 7.2.1)."""
    compressor = zlib.compressobj(wbits=-window_bits)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(TAIL)


@dataclass(frozen=True)
class Received:
    """A server's frame, its message inflated."""

    opcode: int
    payload: bytes
    compressed: bool = False

    def __repr__(self) -> str:
        return f"<opcode {self.opcode}, {len(self.payload)} B: {self.payload[:40]!r}>"


class Client:
    """A connection whose handshake is done."""

    def __init__(self, port: int, extensions: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
        header = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
        self.socket.sendall((HANDSHAKE + header + "\r\n").encode())
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._more()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        self.response = head.decode()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _more(self) -> bytes:
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        return data

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._buffer += self._more()
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    def receive(self) -> Received:
        first, length = self._take(2)
        assert first & FIN, "a server sends whole messages"
        assert not first & (RSV2 | RSV3)
        assert length < 128, "a server masks nothing"
        if length >= 126:
            length = int.from_bytes(self._take(2 if length == 126 else 8), "big")
        payload = self._take(length)
        compressed = bool(first & RSV1)
        if compressed:
            payload = zlib.decompressobj(wbits=-15).decompress(payload + TAIL)
        return Received(first & 15, payload, compressed)

    def until_end(self) -> list[Received]:
        """Everything until the server ends the connection, which must be by a clean end."""
        frames = []
        while True:
            try:
                frames.append(self.receive())
            except EOFError:
                assert self._buffer == b"", "half a frame"
                return frames


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-m", "imfast", "dev-echo", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline().rsplit(":", 1)[1])
        process.terminate()


@contextmanager
def connected(port: int, extensions: str = "") -> Iterator[Client]:
    client = Client(port, extensions)
    with client.socket:
        assert client.response.startswith("HTTP/1.1 101 "), client.response
        yield client


TEXT_UTF8 = "Hello-µ@ßöäüàá-UTF-8!!"

# Name → what is sent, what comes back before the close that answers ours. A pong is `(PONG, …)`.
ECHOED: dict[str, tuple[bytes, list[tuple[int, bytes]]]] = {
    **{
        f"1.{family} {kind} of {length} bytes": (
            frame(FIN | opcode, b"*" * length),
            [(opcode, b"*" * length)],
        )
        for family, (kind, opcode) in enumerate([("text", TEXT), ("binary", BINARY)], 1)
        for length in (0, 125, 126, 127, 128, 65535, 65536, 300_000)
    },
    "2.1 ping without payload": (ping(), [(PONG, b"")]),
    "2.3 ping with bytes that are no text": (ping(b"\xfe\xff"), [(PONG, b"\xfe\xff")]),
    "2.4 ping of 125 bytes": (ping(b"\xfe" * 125), [(PONG, b"\xfe" * 125)]),
    "2.7 pong nobody asked for": (frame(FIN | PONG, b"x"), []),
    "2.10 ten pings": (
        b"".join(ping(bytes([n])) for n in range(10)),
        [(PONG, bytes([n])) for n in range(10)],
    ),
    "5.3 two fragments": (text("frag", fin=False) + go_on("ment", fin=True), [(TEXT, b"fragment")]),
    "5.6 ping between fragments": (
        text("frag", fin=False) + ping(b"?") + go_on("ment", fin=True),
        [(PONG, b"?"), (TEXT, b"fragment")],
    ),
    "5.19 five fragments and two pings": (
        binary(b"1", fin=False)
        + go_on("2")
        + ping(b"a")
        + go_on("3")
        + go_on("4")
        + ping(b"b")
        + go_on("5", fin=True),
        [(PONG, b"a"), (PONG, b"b"), (BINARY, b"12345")],
    ),
    "6.1 empty fragments": (
        text("", fin=False) + go_on("") + go_on("", fin=True),
        [(TEXT, b"")],
    ),
    "6.2 text beyond ASCII in one frame": (text(TEXT_UTF8), [(TEXT, TEXT_UTF8.encode())]),
    "6.2 text beyond ASCII, a byte a fragment": (
        text(b"", fin=False)
        + b"".join(go_on(bytes([byte])) for byte in TEXT_UTF8.encode())
        + go_on(b"", fin=True),
        [(TEXT, TEXT_UTF8.encode())],
    ),
    **{
        f"6.5 {name}": (text(payload), [(TEXT, payload)])
        for name, payload in {
            "a noncharacter": "\ufffe\U0010fffe".encode(),
            "the last of one byte": b"\x7f",
            "the first and last of two": b"\xc2\x80\xdf\xbf",
            "the first and last of three": b"\xe0\xa0\x80\xef\xbf\xbf",
            "around the surrogates": b"\xed\x9f\xbf\xee\x80\x80",
            "the first and last of four": b"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
        }.items()
    },
    "9.1 text of 4 MiB": (text("*" * (4 << 20)), [(TEXT, b"*" * (4 << 20))]),
    "9.3 1 MiB in fragments of 1 KiB": (
        text("", fin=False) + go_on("*" * 1024) * 1024 + go_on("", fin=True),
        [(TEXT, b"*" * (1 << 20))],
    ),
    "9.7 a thousand messages at once": (text("x" * 16) * 1000, [(TEXT, b"x" * 16)] * 1000),
}

# Name → what is sent, the code that the server must close with.
REFUSED: dict[str, tuple[bytes, int]] = {
    "2.5 ping of 126 bytes": (ping(b"x" * 126), 1002),
    **{
        f"3 reserved bits {bits >> 4:03b}, opcode {opcode}": (frame(FIN | bits | opcode), 1002)
        for bits in range(RSV3, FIN, RSV3)
        for opcode in (TEXT, BINARY, PING, CLOSE)
    },
    **{
        f"4 opcode {opcode}": (frame(FIN | opcode), 1002)
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    },
    "5.1 fragmented ping": (frame(PING, b"x") + go_on("y", fin=True), 1002),
    "5.2 fragmented pong": (frame(PONG, b"x") + go_on("y", fin=True), 1002),
    "5.9 continuation without a message": (go_on("x", fin=True), 1002),
    "5.18 text within a message": (text("x", fin=False) + text("y"), 1002),
    "5.18 binary within a message": (binary(b"x", fin=False) + binary(b"y"), 1002),
    **{
        f"6.3 {name}": (text(payload), 1007)
        for name, payload in {
            "surrogate": b"\xed\xa0\x80",
            "surrogate pair": b"\xed\xa0\x80\xed\xb0\x80",
            "overlong": b"\xc0\xaf",
            "overlong in four bytes": b"\xf0\x80\x80\xaf",
            "above U+10FFFF": b"\xf4\x90\x80\x80",
            "five bytes": b"\xf8\x88\x80\x80\x80",
            "lone continuation": b"ok\x80",
            "cut character": b"ok\xce",
            "bytes FE and FF": b"\xfe\xff",
            "bad byte behind a long text": b"x" * 1000 + b"\xff",
        }.items()
    },
    "6.4 bad byte in the second of three fragments": (
        text("ok", fin=False) + go_on(b"\xff"),
        1007,
    ),
    "6.4 bad byte before the frame's end": (text(b"ok\xff" + b"x" * 500)[:100], 1007),
    "6.4 character that cannot end well": (text(b"ok\xf4\x90" + b"x" * 500)[:12], 1007),
    "7.3 close of one byte": (frame(FIN | CLOSE, b"x"), 1002),
    "7.3 close of 126 bytes": (close(1000, b"x" * 124), 1002),
    "7.5 close reason that is no text": (close(1000, b"\xce\xba\xe1\xbd"), 1007),
    **{
        f"7.9 close code {code}": (close(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "unmasked frame": (b"\x81\x01x", 1002),
    "length not in its shortest form": (b"\x81\xfe\x00\x01" + MASK + b"x", 1002),
    "message over the limit": (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + MASK, 1009),
}


@pytest.mark.parametrize("chunk", [None, 1], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("name", ECHOED)
def test_server_echoes_message(port: int, name: str, chunk: int | None) -> None:
    data, expected = ECHOED[name]
    if chunk and len(data) > 2000:
        chunk = 997  # bytes one by one would prove no more and take minutes
    with connected(port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step = chunk or len(data)
        for start in range(0, len(data), step):
            client.send(data[start : start + step])
        client.send(close(1000, b"done"))
        frames = [(received.opcode, received.payload) for received in client.until_end()]
        assert frames == [*expected, (CLOSE, (1000).to_bytes(2, "big"))]


@pytest.mark.parametrize("name", REFUSED)
def test_server_closes_with_the_code_of_the_violation(port: int, name: str) -> None:
    data, code = REFUSED[name]
    with connected(port) as client:
        client.send(text("before"))
        assert client.receive() == Received(TEXT, b"before")
        client.send(data)
        frames = client.until_end()
        assert [received.opcode for received in frames] == [CLOSE]
        assert int.from_bytes(frames[0].payload[:2], "big") == code


@pytest.mark.parametrize(
    "code", [None, 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
)
def test_client_close_is_answered_with_its_code_and_nothing_after_it(
    port: int, code: int | None
) -> None:
    with connected(port) as client:
        client.send(close(code) + text("late") + ping(b"late") + close(code))
        answer = b"" if code is None else code.to_bytes(2, "big")
        assert client.until_end() == [Received(CLOSE, answer)]


def words(length: int) -> bytes:
    """Text that compresses, but not to nothing."""
    return b"".join(b"%d bottles of beer on the wall, " % n for n in range(length // 32 + 1))[
        :length
    ]


@pytest.mark.parametrize("length", [0, 16, 127, 128, 4096, 65536, 1 << 20])
@pytest.mark.parametrize("fragments", [1, 2, 7])
@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
        "permessage-deflate; server_max_window_bits=8, permessage-deflate",
        "x-unknown; a=1, permessage-deflate",
    ],
)
def test_compressed_message_comes_back_compressed(
    port: int, offer: str, fragments: int, length: int
) -> None:
    message = words(length)
    with connected(port, offer) as client:
        assert "server_no_context_takeover; client_no_context_takeover" in client.response
        small = "server_max_window_bits=9" in offer
        assert ("server_max_window_bits=9" in client.response) == small
        # Twice the same: nothing may refer to the message before.
        for _ in range(2):
            data = deflated(message, 9 if small else 15)
            step = -(-len(data) // fragments)
            parts = [data[start : start + step] for start in range(0, len(data), step)]
            for at, part in enumerate(parts):
                first = RSV1 | TEXT if at == 0 else CONTINUATION
                client.send(frame(first | (FIN if at == len(parts) - 1 else 0), part))
                if at == 0:
                    client.send(ping(b"between"))
            received = [client.receive(), client.receive()]
            received.sort(key=lambda one: one.opcode)
            assert received == [Received(TEXT, message, True), Received(PONG, b"between")]
        client.send(text("plain is allowed too"))
        assert client.receive().payload == b"plain is allowed too"
        client.send(close())
        assert client.until_end() == [Received(CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("RSV1 on a ping", frame(FIN | RSV1 | PING), 1002),
        ("RSV1 on a close", frame(FIN | RSV1 | CLOSE, b"\x03\xe8"), 1002),
        (
            "RSV1 on a continuation",
            frame(RSV1 | TEXT, b"x") + frame(FIN | RSV1 | CONTINUATION, b"y"),
            1002,
        ),
        ("RSV2", frame(FIN | RSV1 | RSV2 | TEXT, deflated(b"x")), 1002),
        ("no DEFLATE data", frame(FIN | RSV1 | TEXT, b"\xff\xff\xff"), 1007),
        ("half of the data", frame(FIN | RSV1 | TEXT, deflated(words(1000))[:100]), 1007),
        ("text that is not UTF-8", frame(FIN | RSV1 | TEXT, deflated(b"caf\xe9")), 1007),
        ("64 MiB of zeros", frame(FIN | RSV1 | BINARY, deflated(bytes(64 << 20))), 1009),
    ],
)
def test_server_refuses_what_no_compressed_message_is(
    port: int, name: str, data: bytes, code: int
) -> None:
    with connected(port, "permessage-deflate") as client:
        client.send(data)
        frames = client.until_end()
        assert [int.from_bytes(received.payload[:2], "big") for received in frames] == [code], name


def test_server_declines_offers_with_parameters_that_are_not_allowed(port: int) -> None:
    for offer in ("permessage-deflate; unknown", "permessage-deflate; server_max_window_bits=16"):
        with connected(port, offer) as client:
            assert "Extensions" not in client.response


def test_malformed_extension_header_fails_the_handshake(port: int) -> None:
    client = Client(port, "permessage-deflate; =")
    with client.socket:
        assert client.response.startswith("HTTP/1.1 400 "), client.response
