"""What several requests have in common."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from imfast.limits import ID_BYTES, KEY_BYTES, TITLE_BYTES, TTL_MS

__all__ = [
    "Body",
    "Empty",
    "Identifier",
    "Key",
    "Limit",
    "Names",
    "Seq",
    "Title",
    "TtlMs",
    "Wire",
    "wire_name",
]


def wire_name(name: str) -> str:
    """``ttl_ms`` is ``ttlMs``, and ``from_``, which Python keeps for itself, is ``from``."""
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(part.capitalize() for part in rest)


class Wire(Struct, rename=wire_name, omit_defaults=True, kw_only=True):
    """An object of a request or an answer: lowerCamelCase, defaults left out."""


class Empty(Wire):
    """Nothing more is said."""


Identifier = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=ID_BYTES.default,
        pattern="^[^\\x00-\\x1f\\x7f-\\x9f]+$",
        description="1 to 128 bytes of UTF-8 without control characters.",
        examples=["alice"],
    ),
]
Names = Annotated[list[Identifier], Meta(min_length=1, max_length=10_000)]
Key = Annotated[
    str,
    Meta(max_length=KEY_BYTES.default, description="Idempotency key: a repetition has one effect."),
]
Title = Annotated[str, Meta(max_length=TITLE_BYTES.default)]
Seq = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]
Limit = Annotated[int, Meta(ge=1, le=1000, description="Items of a page.")]
TtlMs = Annotated[int, Meta(ge=0, le=TTL_MS.default)]


class Body(Wire):
    """What a message holds: one of `json`, `text` and `base64`."""

    text: str | UnsetType = UNSET
    json: Any = UNSET
    base64: str | UnsetType = UNSET
    content_type: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET
    key: Key | UnsetType = UNSET
    ttl_ms: TtlMs | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET
    silent: bool | UnsetType = UNSET
    ephemeral: bool | UnsetType = UNSET


def encode(value: Wire) -> bytes:
    """As JSON."""
    return msgspec.json.encode(value)
