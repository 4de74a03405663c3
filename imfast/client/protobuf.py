"""Protobuf (proto3) for the messages of ``schema``, without a dependency.

Decoding takes what any proto3 writer may produce: fields in any order, repeated scalars that the
last one wins, messages in pieces, fields we do not know. Encoding writes every field that it is
given, zeros too: ``after = 0`` of history and an empty text say more than their absence.
Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import ProtocolError
from .schema import BOOL, BYTES, MESSAGES, STRING, UINT, Field

__all__ = ["decode", "encode", "put_varint", "take_varint"]

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_U64_MAX = 2**64 - 1
_DEPTH_MAX = 16

_BY_NUMBER: dict[str, dict[int, Field]] = {
    name: {field.number: field for field in fields} for name, fields in MESSAGES.items()
}


def put_varint(out: bytearray, value: int) -> None:
    """Append `value`, 0 to 2^64-1, in 1 to 10 bytes."""
    if not 0 <= value <= _U64_MAX:
        raise ValueError(f"{value} is not an unsigned 64-bit number")
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def take_varint(data: bytes, offset: int) -> tuple[int, int]:
    """Read a varint at `offset`; return it and the offset behind it."""
    result = 0
    for index in range(10):
        if offset + index >= len(data):
            raise ProtocolError(f"varint at byte {offset} is cut off")
        byte = data[offset + index]
        result |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if result > _U64_MAX:
                break
            return result, offset + index + 1
    raise ProtocolError(f"varint at byte {offset} is longer than 64 bits")


def encode(name: str, value: Mapping[str, Any]) -> bytes:
    """Encode `value` as the message `name`. Keys that the message does not have are an error."""
    out = bytearray()
    known = 0
    for field in MESSAGES[name]:
        if field.name not in value:
            continue
        known += 1
        content = value[field.name]
        for one in content if field.repeated else (content,):
            _put_field(out, field, one)
    if known != len(value):
        unknown = sorted(set(value) - {field.name for field in MESSAGES[name]})
        raise ValueError(f"{name} has no field {', '.join(unknown)}")
    return bytes(out)


def _put_field(out: bytearray, field: Field, value: Any) -> None:
    if field.kind in (UINT, BOOL):
        put_varint(out, field.number << 3 | _VARINT)
        put_varint(out, int(value))
        return
    if field.kind == STRING:
        data = value.encode()
    elif field.kind == BYTES:
        data = value
    else:
        data = encode(field.kind, value)
    put_varint(out, field.number << 3 | _LENGTH)
    put_varint(out, len(data))
    out += data


def decode(name: str, data: bytes) -> dict[str, Any]:
    """Decode the message `name`. Absent fields are absent in the result.

    Raises ProtocolError with the offset of what is wrong.
    """
    result: dict[str, Any] = {}
    _merge(name, data, 0, len(data), result, 0)
    return result


def _merge(
    name: str, data: bytes, offset: int, end: int, result: dict[str, Any], depth: int
) -> None:
    if depth > _DEPTH_MAX:
        raise ProtocolError(f"messages nested deeper than {_DEPTH_MAX} at byte {offset}")
    fields = _BY_NUMBER[name]
    while offset < end:
        start = offset
        tag, offset = take_varint(data, offset)
        number, wire = tag >> 3, tag & 7
        if number == 0 or number >= 2**29:
            raise ProtocolError(f"field number {number} at byte {start} is not allowed")
        integer, offset = _skip(data, offset, wire)
        if offset > end:
            raise ProtocolError(f"field {number} at byte {start} is cut off")
        field = fields.get(number)
        if field is None:
            continue
        if wire != (_VARINT if field.kind in (UINT, BOOL) else _LENGTH):
            raise ProtocolError(f"field {number} at byte {start} has wire type {wire}")
        if field.oneof:
            _clear_others(name, field, result)
        if wire == _VARINT:
            result[field.name] = bool(integer) if field.kind == BOOL else integer
        else:
            # What _skip read is the length; the content ends where the field does.
            _take(field, data, offset - integer, offset, result, depth)


def _skip(data: bytes, offset: int, wire: int) -> tuple[int, int]:
    """Return a varint's number, else the content's length, and the offset behind the field."""
    if wire == _VARINT:
        return take_varint(data, offset)
    if wire == _FIXED64:
        return 8, offset + 8
    if wire == _LENGTH:
        length, offset = take_varint(data, offset)
        return length, offset + length
    if wire == _FIXED32:
        return 4, offset + 4
    raise ProtocolError(f"wire type {wire} before byte {offset}")


def _take(
    field: Field, data: bytes, start: int, end: int, result: dict[str, Any], depth: int
) -> None:
    value: Any
    if field.kind == STRING:
        try:
            value = data[start:end].decode()
        except UnicodeDecodeError as error:
            raise ProtocolError(f"text at byte {start} is not UTF-8: {error.reason}") from None
    elif field.kind == BYTES:
        value = bytes(data[start:end])
    else:
        # A message in several pieces is merged, as proto3 asks.
        value = {} if field.repeated else result.get(field.name, {})
        _merge(field.kind, data, start, end, value, depth + 1)
    if field.repeated:
        result.setdefault(field.name, []).append(value)
    else:
        result[field.name] = value


def _clear_others(name: str, field: Field, result: dict[str, Any]) -> None:
    for other in MESSAGES[name]:
        if other.oneof == field.oneof and other.number != field.number:
            result.pop(other.name, None)
