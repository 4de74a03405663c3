"""The protocol as Google's protobuf implementation understands it.

Compiles ``spec/imfast.proto`` and builds its messages from the JSON form of frames, by rules
written down a second time here and not taken from the code under test.
"""

from __future__ import annotations

import base64
import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from grpc_tools import protoc

__all__ = ["SPEC", "compile_schema", "to_message"]

SPEC = Path(__file__).resolve().parents[3] / "spec"


def compile_schema(directory: Path) -> ModuleType:
    """The module that protoc makes of the client schema, written to ``directory``."""
    result = protoc.main(
        ["protoc", f"-I{SPEC}", f"--python_out={directory}", str(SPEC / "imfast.proto")]
    )
    if result != 0:
        raise RuntimeError("protoc refused spec/imfast.proto")
    sys.path.insert(0, str(directory))
    try:
        return import_module("imfast_pb2")
    finally:
        sys.path.remove(str(directory))


def to_message(schema: ModuleType, kind: str, frame: dict[str, Any]) -> Message:
    """The protobuf message of a frame in JSON form; ``kind`` names it in the schema."""
    message: Message = getattr(schema, kind)()
    json_format.ParseDict(_frame(frame), message, ignore_unknown_fields=True)
    return message


def _frame(frame: dict[str, Any]) -> dict[str, Any]:
    body_of = {
        "send": _content,
        "edit": _content,
        "message": _content,
        "event": _event,
        "history": _page,
        "conversations": _page,
    }
    return {
        name: body_of.get(name, _as_it_is)(value) if isinstance(value, dict) else value
        for name, value in frame.items()
    }


def _as_it_is(body: dict[str, Any]) -> dict[str, Any]:
    return body


def _content(body: dict[str, Any]) -> dict[str, Any]:
    """A body in JSON is a value, in protobuf its text; bytes have another name."""
    out = dict(body)
    if "json" in out:
        out["json"] = json.dumps(out["json"], separators=(",", ":"), ensure_ascii=False)
    if "base64" in out:
        text = out.pop("base64")
        padded = text + "=" * (-len(text) % 4)
        out["bytes"] = base64.b64encode(base64.b64decode(padded)).decode()
    if "headers" in out:
        out["headers"] = [{"name": k, "value": v} for k, v in out["headers"].items()]
    return out


def _event(event: dict[str, Any]) -> dict[str, Any]:
    out = _content(event)
    if "user" in out:
        out["users"] = [out.pop("user")]
    return out


def _page(page: dict[str, Any]) -> dict[str, Any]:
    """Items of a page are rows, or conversations whose last item is a row."""
    if "items" not in page:
        return page
    items = [
        {**item, "last": _frame(item["last"])} if "last" in item else _frame(item)
        for item in page["items"]
    ]
    return {**page, "items": items}
