"""Frames to bytes and back, in both encodings.

Inside the client a frame is a dict with the names of the JSON encoding; bodies are under ``json``
(any value), ``text`` or ``bytes`` (bytes), headers are a dict. Each codec translates what its
encoding writes differently.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

from . import protobuf
from .errors import ProtocolError

__all__ = ["Codec", "Frame", "JsonCodec", "ProtobufCodec"]

Frame = dict[str, Any]

# Where content (json, text, bytes, headers) can be in a server's frame, besides history items.
_CONTENT = ("send", "edit", "message", "event")


class Codec(Protocol):
    """One encoding of frames.

    ``text`` says whether its WebSocket messages are text; ``subprotocol`` is its name there.
    """

    text: bool
    subprotocol: str

    def encode(self, frame: Mapping[str, Any]) -> bytes:
        """Encode one client frame as a WebSocket message."""
        ...

    def decode(self, data: bytes) -> list[Frame]:
        """Decode the server frames of a WebSocket message. Raises ProtocolError."""
        ...


class JsonCodec:
    """One or several concatenated JSON values in a message."""

    text = True
    subprotocol = "imfast.v1.json"

    def __init__(self) -> None:
        self._scan = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode

    def encode(self, frame: Mapping[str, Any]) -> bytes:
        return json.dumps(
            _map_content(frame, _content_to_json),
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        ).encode()

    def decode(self, data: bytes) -> list[Frame]:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise ProtocolError(f"JSON is not UTF-8 at byte {error.start}") from None
        frames: list[Frame] = []
        offset = _skip_space(text, 0)
        while offset < len(text):
            try:
                value, end = self._scan(text, offset)
            except (ValueError, RecursionError) as error:
                raise ProtocolError(f"not JSON: {error}") from None
            if not isinstance(value, dict):
                raise ProtocolError(f"frame at character {offset} is not an object")
            frames.append(_map_content(value, _content_from_json))
            offset = _skip_space(text, end)
        return frames


class ProtobufCodec:
    """Protobuf, each frame after its length: a varint in WebSocket messages."""

    text = False
    subprotocol = "imfast.v1.proto"

    def encode_bare(self, frame: Mapping[str, Any]) -> bytes:
        """Encode one client frame without a length."""
        return protobuf.encode("ClientFrame", _map_content(frame, _content_to_protobuf))

    def decode_bare(self, data: bytes) -> Frame:
        """Decode one server frame that has no length before it."""
        frame = protobuf.decode("ServerFrame", data)
        return _map_content(frame, _content_from_protobuf)

    def encode(self, frame: Mapping[str, Any]) -> bytes:
        bare = self.encode_bare(frame)
        out = bytearray()
        protobuf.put_varint(out, len(bare))
        return bytes(out + bare)

    def decode(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        offset = 0
        while offset < len(data):
            length, offset = protobuf.take_varint(data, offset)
            if offset + length > len(data):
                raise ProtocolError(f"frame of {length} bytes at byte {offset} is cut off")
            frames.append(self.decode_bare(data[offset : offset + length]))
            offset += length
        return frames


_Change = Callable[[dict[str, Any]], None]


def _map_content(frame: Mapping[str, Any], change: _Change) -> Frame:
    """Copy `frame` with `change` applied to every body that has content."""
    result = dict(frame)
    for name in _CONTENT:
        if isinstance(result.get(name), dict):
            result[name] = _changed(result[name], change)
    for name in ("history", "conversations"):
        body = result.get(name)
        if isinstance(body, dict) and isinstance(body.get("items"), list):
            result[name] = {**body, "items": [_map_item(item, change) for item in body["items"]]}
    return result


def _map_item(item: Any, change: _Change) -> Any:
    if not isinstance(item, dict):
        raise ProtocolError("an item is not an object")
    for row in ("message", "event"):
        if isinstance(item.get(row), dict):
            return {**item, row: _changed(item[row], change)}
    if isinstance(item.get("last"), dict):
        return {**item, "last": _map_item(item["last"], change)}
    return item


def _changed(content: dict[str, Any], change: _Change) -> dict[str, Any]:
    copy = dict(content)
    change(copy)
    return copy


def _content_to_json(content: dict[str, Any]) -> None:
    if "bytes" in content:
        content["base64"] = base64.b64encode(content.pop("bytes")).decode()


def _content_from_json(content: dict[str, Any]) -> None:
    if "base64" in content:
        try:
            content["bytes"] = base64.b64decode(content.pop("base64"), validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise ProtocolError("base64 body is not base64") from None
    if "headers" in content:
        content["headers"] = _headers(content["headers"])


def _content_to_protobuf(content: dict[str, Any]) -> None:
    if "json" in content:
        content["json"] = json.dumps(
            content["json"], ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    if "headers" in content:
        content["headers"] = [
            {"name": name, "value": value} for name, value in content["headers"].items()
        ]


def _content_from_protobuf(content: dict[str, Any]) -> None:
    if "json" in content:
        try:
            content["json"] = json.loads(content["json"], parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"json body is not JSON: {error}") from None
    if "headers" in content:
        content["headers"] = _headers(content["headers"])


def _headers(value: Any) -> dict[str, str]:
    """Read headers: an object, or a list of ``{name, value}`` as protobuf has them."""
    if isinstance(value, list):
        try:
            return {header.get("name", ""): header.get("value", "") for header in value}
        except AttributeError:
            raise ProtocolError("a header is not an object") from None
    if not isinstance(value, dict):
        raise ProtocolError("headers are not an object")
    return value


def _skip_space(text: str, offset: int) -> int:
    while offset < len(text) and text[offset] in " \t\r\n":
        offset += 1
    return offset


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
