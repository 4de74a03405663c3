"""The client's codecs: a send encoded and a message decoded, beside Google's protobuf and json.

    pytest benchmarks/micro/test_codec.py

One round of decoding is one frame with a body of 128 bytes. Google's parser is C behind Python
(upb), and hands out objects that are read on access: both include making our dict from it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from imfast.client.codec import Codec, JsonCodec, ProtobufCodec
from imfast.client.protobuf import encode, put_varint
from tests.unit.client.schema_compiler import new

TEXT = "x" * 128
SEND: dict[str, Any] = {
    "id": 17,
    "send": {"to": {"user": "bob"}, "key": "0198c0de-0000-7000-8000-000000000001", "text": TEXT},
}
ROW: dict[str, Any] = {
    "conversation": "d.AAAAAAAAAAAAAAAAAAAAAA",
    "seq": 42,
    "messageId": 7_321_000_000_000_000_001,
    "from": "alice",
    "timestampMs": 1_763_899_999_000,
    "text": TEXT,
}
PUSH = {"message": ROW}


def framed(bare: bytes) -> bytes:
    out = bytearray()
    put_varint(out, len(bare))
    return bytes(out + bare)


PUSHES = {
    "json": json.dumps(PUSH, separators=(",", ":")).encode(),
    "protobuf": framed(encode("ServerFrame", PUSH)),
}
CODECS: dict[str, Codec] = {"json": JsonCodec(), "protobuf": ProtobufCodec()}


@pytest.mark.parametrize("encoding", CODECS)
@pytest.mark.benchmark(group="encode a send")
def test_encode(benchmark: Any, encoding: str) -> None:
    assert TEXT.encode() in benchmark(CODECS[encoding].encode, SEND)


@pytest.mark.benchmark(group="encode a send")
def test_plain_json_dumps(benchmark: Any) -> None:
    assert benchmark(lambda: json.dumps(SEND, separators=(",", ":")).encode())


@pytest.mark.benchmark(group="encode a send")
def test_google_protobuf_serialise(benchmark: Any) -> None:
    kind = type(new("ClientFrame"))

    def serialise() -> bytes:
        frame = kind(id=SEND["id"])
        frame.send.to.user = "bob"
        frame.send.key = SEND["send"]["key"]
        frame.send.text = TEXT
        content: bytes = frame.SerializeToString()
        return content

    assert framed(benchmark(serialise)) == CODECS["protobuf"].encode(SEND)


@pytest.mark.parametrize("encoding", CODECS)
@pytest.mark.benchmark(group="decode a message")
def test_decode(benchmark: Any, encoding: str) -> None:
    [frame] = benchmark(CODECS[encoding].decode, PUSHES[encoding])
    assert frame == PUSH


@pytest.mark.benchmark(group="decode a message")
def test_plain_json_loads(benchmark: Any) -> None:
    assert benchmark(json.loads, PUSHES["json"]) == PUSH


@pytest.mark.benchmark(group="decode a message")
def test_google_protobuf_parse(benchmark: Any) -> None:
    kind = type(new("ServerFrame"))
    bare = encode("ServerFrame", PUSH)

    def parse() -> dict[str, Any]:
        row = kind.FromString(bare).message
        return {
            "message": {
                "conversation": row.conversation,
                "seq": row.seq,
                "messageId": row.message_id,
                "from": getattr(row, "from"),
                "timestampMs": row.timestamp_ms,
                "text": row.text,
            }
        }

    assert benchmark(parse) == PUSH
