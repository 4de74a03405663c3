"""Frames in both encodings: same dicts inside, each encoding's own form outside."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imfast.client.codec import Codec, JsonCodec, ProtobufCodec
from imfast.client.errors import ProtocolError
from imfast.client.protobuf import encode, put_varint
from tests.unit.client.schema_compiler import parse

ROW: dict[str, Any] = {"conversation": "g.1", "seq": 7, "from": "alice", "timestampMs": 5}


def varint(value: int) -> bytes:
    out = bytearray()
    put_varint(out, value)
    return bytes(out)


def protobuf_message(*frames: dict[str, Any]) -> bytes:
    encoded = [encode("ServerFrame", frame) for frame in frames]
    return b"".join(varint(len(frame)) + frame for frame in encoded)


def test_json_send_is_written_as_the_protocol_shows_it() -> None:
    frame = {"id": 2, "send": {"to": {"user": "bob"}, "key": "k", "json": {"text": "hé"}}}
    expected = '{"id":2,"send":{"to":{"user":"bob"},"key":"k","json":{"text":"hé"}}}'
    assert JsonCodec().encode(frame) == expected.encode()


def test_bytes_are_base64_in_json_and_bytes_in_protobuf() -> None:
    frame = {"id": 1, "send": {"to": {"user": "b"}, "bytes": b"\0\xff", "headers": {"a": "b"}}}
    assert json.loads(JsonCodec().encode(frame))["send"] == {
        "to": {"user": "b"},
        "base64": "AP8=",
        "headers": {"a": "b"},
    }
    sent = parse("ClientFrame", ProtobufCodec().encode_bare(frame)).send
    assert sent.bytes == b"\0\xff"
    assert [(header.name, header.value) for header in sent.headers] == [("a", "b")]
    assert frame["send"]["bytes"] == b"\0\xff", "encoding does not change its argument"  # type: ignore[index]


def test_concatenated_json_values_are_several_frames() -> None:
    frames = JsonCodec().decode(b' {"pong":{}}{"caughtUp":{"token":"A"}}\n{"id":3,"acked":{}} ')
    assert frames == [{"pong": {}}, {"caughtUp": {"token": "A"}}, {"id": 3, "acked": {}}]


def test_protobuf_message_holds_several_frames() -> None:
    frames = [{"id": 3, "acked": {}}, {"caughtUp": {"token": "A"}}]
    assert ProtobufCodec().decode(protobuf_message(*frames)) == frames


@pytest.mark.parametrize("place", ["push", "history", "conversations"])
def test_content_is_the_same_value_in_both_encodings_wherever_it_stands(place: str) -> None:
    def frame(message: dict[str, Any]) -> dict[str, Any]:
        if place == "push":
            return {"message": message}
        if place == "history":
            return {"id": 1, "history": {"items": [{"message": message}], "more": True}}
        return {"id": 1, "conversations": {"items": [{"last": {"message": message}}]}}

    inside = frame({**ROW, "json": [1, None], "headers": {"h": "v"}})
    as_json = json.dumps(inside).encode()
    as_protobuf = protobuf_message(
        frame({**ROW, "json": "[1,null]", "headers": [{"name": "h", "value": "v"}]})
    )
    assert JsonCodec().decode(as_json) == [inside]
    assert ProtobufCodec().decode(as_protobuf) == [inside]


def test_base64_body_becomes_bytes() -> None:
    data = json.dumps({"message": {**ROW, "base64": "AP8="}}).encode()
    assert JsonCodec().decode(data) == [{"message": {**ROW, "bytes": b"\0\xff"}}]


@pytest.mark.parametrize(
    ("codec", "data", "reason"),
    [
        (JsonCodec(), b"\xff", "not UTF-8"),
        (JsonCodec(), b"{", "not JSON"),
        (JsonCodec(), b'{"a":NaN}', "NaN is not JSON"),
        (JsonCodec(), b"[" * 100_000, "not JSON"),
        (JsonCodec(), b'{"pong":{}} 1', "not an object"),
        (JsonCodec(), b'{"message":{"base64":"*"}}', "not base64"),
        (JsonCodec(), b'{"message":{"base64":1}}', "not base64"),
        (JsonCodec(), b'{"message":{"headers":1}}', "headers"),
        (JsonCodec(), b'{"message":{"headers":[1]}}', "header"),
        (JsonCodec(), b'{"history":{"items":[1]}}', "item"),
        (ProtobufCodec(), b"\x05ab", "cut off"),
        (ProtobufCodec(), protobuf_message({"message": {**ROW, "json": "{"}}), "not JSON"),
    ],
)
def test_malformed_message_is_refused(codec: Codec, data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        codec.decode(data)


@pytest.mark.parametrize("codec", [JsonCodec(), ProtobufCodec()])
def test_number_that_is_no_json_is_not_sent(codec: Codec) -> None:
    with pytest.raises(ValueError, match="JSON"):
        codec.encode({"id": 1, "send": {"to": {"user": "b"}, "json": float("nan")}})


@given(data=st.binary(max_size=64))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(data: bytes) -> None:
    for codec in (JsonCodec(), ProtobufCodec()):
        with contextlib.suppress(ProtocolError):
            codec.decode(data)
