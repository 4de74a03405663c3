"""Our protobuf against Google's: the schema, both directions, and bytes that are none of it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from imfast.client.errors import ProtocolError
from imfast.client.protobuf import decode, encode, put_varint, take_varint
from imfast.client.schema import BOOL, BYTES, MESSAGES, STRING, UINT, Field
from tests.unit.client.schema_compiler import compiled, new, parse

KINDS = {
    FieldDescriptor.TYPE_UINT32: UINT,
    FieldDescriptor.TYPE_UINT64: UINT,
    FieldDescriptor.TYPE_BOOL: BOOL,
    FieldDescriptor.TYPE_STRING: STRING,
    FieldDescriptor.TYPE_BYTES: BYTES,
}


def full_name(descriptor: Descriptor) -> str:
    return descriptor.full_name.removeprefix("imfast.v1.")


def oneof_of(field: FieldDescriptor) -> str:
    """The oneof of a field; one that only stands for `optional` is none."""
    oneof = field.containing_oneof
    return oneof.name if oneof and len(oneof.fields) > 1 else ""


def table_of(descriptor: Descriptor) -> tuple[Field, ...]:
    return tuple(
        Field(
            field.number,
            field.json_name,
            KINDS.get(field.type) or full_name(field.message_type),
            field.is_repeated,
            oneof_of(field),
        )
        for field in sorted(descriptor.fields, key=lambda field: field.number)
    )


def test_schema_is_that_of_the_proto_file() -> None:
    expected: dict[str, tuple[Field, ...]] = {}
    for descriptor in compiled().message_types_by_name.values():
        expected[full_name(descriptor)] = table_of(descriptor)
        for nested in descriptor.nested_types:
            expected[full_name(nested)] = table_of(nested)
    assert expected == MESSAGES


uint64 = st.integers(0, 2**64 - 1)
# The only uint32 of the schema.
NARROW = {("Error", "code"): st.integers(0, 2**32 - 1)}
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    UINT: uint64,
    BOOL: st.booleans(),
    STRING: st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    BYTES: st.binary(max_size=20),
}


def values(name: str, depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """Dicts that are a message `name`, with at most one field of each oneof."""

    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        fields = list(MESSAGES[name])
        chosen: dict[str, Any] = {}
        oneofs = {field.oneof for field in fields} - {""}
        picked = {
            oneof: draw(st.sampled_from([f.number for f in fields if f.oneof == oneof]))
            for oneof in sorted(oneofs)
        }
        for field in fields:
            if field.oneof and picked[field.oneof] != field.number:
                continue
            if not field.oneof and not draw(st.booleans()):
                continue
            kind = NARROW.get((name, field.name), SCALARS.get(field.kind))
            one = kind if kind is not None else values(field.kind, depth + 1)
            chosen[field.name] = draw(
                st.lists(one, min_size=1, max_size=3) if field.repeated else one
            )
        return chosen

    return build()


def fill(message: Any, name: str, value: dict[str, Any]) -> None:
    """Set the fields of Google's message from our dict."""
    for field in message.DESCRIPTOR.fields:
        if field.json_name not in value:
            continue
        ours = value[field.json_name]
        kind = next(f.kind for f in MESSAGES[name] if f.number == field.number)
        nested = kind in MESSAGES
        if field.is_repeated:
            for one in ours:
                if nested:
                    fill(getattr(message, field.name).add(), kind, one)
                else:
                    getattr(message, field.name).append(one)
        elif nested:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), kind, ours)
        else:
            setattr(message, field.name, ours)


def without_zeros(name: str, value: dict[str, Any]) -> dict[str, Any]:
    """What Google's writer leaves: zeros only of fields whose presence counts."""
    present = {field.json_name for field in new(name).DESCRIPTOR.fields if field.has_presence}
    result = {}
    for field in MESSAGES[name]:
        if field.name not in value:
            continue
        ours = value[field.name]
        if field.kind in MESSAGES:
            result[field.name] = (
                [without_zeros(field.kind, one) for one in ours]
                if field.repeated
                else without_zeros(field.kind, ours)
            )
        elif field.repeated or ours or field.name in present:
            result[field.name] = ours
    return result


@pytest.mark.parametrize("name", ["ClientFrame", "ServerFrame"])
@given(data=st.data())
def test_google_reads_what_we_write(name: str, data: st.DataObject) -> None:
    value = data.draw(values(name))
    expected = new(name)
    fill(expected, name, value)
    assert parse(name, encode(name, value)) == expected


@pytest.mark.parametrize("name", ["ClientFrame", "ServerFrame"])
@given(data=st.data())
def test_we_read_what_google_writes(name: str, data: st.DataObject) -> None:
    value = data.draw(values(name))
    theirs = new(name)
    fill(theirs, name, value)
    assert decode(name, theirs.SerializeToString()) == without_zeros(name, value)


@given(data=st.binary(max_size=64))
def test_arbitrary_bytes_are_read_as_google_reads_them_or_refused(data: bytes) -> None:
    try:
        ours = decode("ServerFrame", data)
    except ProtocolError:
        return
    try:
        theirs = parse("ServerFrame", data)
    except DecodeError:
        # Google also looks into fields that it skips; what we take of them is nothing.
        return
    assert theirs.WhichOneof("body") is None or len(ours.keys() - {"id"}) == 1


@given(value=values("ServerFrame"), cut=st.integers(0, 10_000))
def test_a_cut_frame_is_refused_or_is_a_shorter_frame(value: dict[str, Any], cut: int) -> None:
    data = encode("ServerFrame", value)
    with contextlib.suppress(ProtocolError):
        decode("ServerFrame", data[: cut % (len(data) + 1)])


def test_field_of_a_later_version_is_skipped() -> None:
    later = b"\x98\x06\x01" + b"\xa2\x06\x03abc" + b"\xad\x06\0\0\0\0" + b"\xb1\x06" + bytes(8)
    data = encode("Sent", {"conversation": "d.1", "seq": 3}) + later
    assert decode("Sent", data) == {"conversation": "d.1", "seq": 3}


def test_message_in_pieces_is_merged_and_the_last_of_a_oneof_wins() -> None:
    pieces = encode("ServerFrame", {"sent": {"seq": 1}}) + encode(
        "ServerFrame", {"sent": {"position": "0-1"}}
    )
    assert decode("ServerFrame", pieces) == {"sent": {"seq": 1, "position": "0-1"}}
    assert decode("ServerFrame", pieces + encode("ServerFrame", {"pong": {}})) == {"pong": {}}


def test_zero_that_is_given_is_written() -> None:
    history = {"conversation": "g.1", "after": 0}
    assert decode("History", encode("History", history)) == history


def test_unknown_field_is_not_written() -> None:
    with pytest.raises(ValueError, match="Sent has no field colour"):
        encode("Sent", {"colour": "red"})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x08", "varint at byte 1 is cut off"),
        (b"\x08" + b"\xff" * 10, "longer than 64 bits"),
        (b"\x1a\x05ab", "field 3 at byte 0 is cut off"),
        (b"\x0b", "wire type 3"),
        (b"\x0a\x01a", "field 1 at byte 0 has wire type 2"),
        (b"\x00\x00", "field number 0 at byte 0"),
        (b"\x22\x03\x0a\x01\xff", "text at byte 4 is not UTF-8"),
    ],
)
def test_malformed_frame_is_refused_with_its_offset(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        decode("ServerFrame", data)


@given(value=uint64)
def test_varint_round_trip(value: int) -> None:
    out = bytearray(b"x")
    put_varint(out, value)
    assert take_varint(bytes(out), 1) == (value, len(out))


@pytest.mark.parametrize("value", [-1, 2**64])
def test_number_outside_64_bits_is_not_written(value: int) -> None:
    with pytest.raises(ValueError, match="64-bit"):
        put_varint(bytearray(), value)
