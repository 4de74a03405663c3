"""The shared vectors say what Google's protobuf says, and the generated files are fresh."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from imfast.codes import CLOSES, CODES, Close, Code
from imfast.limits import LIMITS
from tests.unit.spec.reference import SPEC, compile_schema, to_message

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (SPEC / "vectors" / "frames.json").read_text(encoding="utf-8")
)
FRAMES = [
    pytest.param(kind, vector, id=f"{side}: {vector['name']}")
    for side, kind in (("client", "ClientFrame"), ("server", "ServerFrame"))
    for vector in VECTORS[side]
]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return compile_schema(tmp_path_factory.mktemp("schema"))


@pytest.mark.parametrize(("kind", "vector"), FRAMES)
def test_reference_writes_the_bytes_of_the_vector(
    schema: ModuleType, kind: str, vector: dict[str, Any]
) -> None:
    message = to_message(schema, kind, vector["json"])
    assert message.SerializeToString(deterministic=True).hex() == vector["proto"]


@pytest.mark.parametrize(("kind", "vector"), FRAMES)
def test_reference_knows_every_field_of_the_vector(
    schema: ModuleType, kind: str, vector: dict[str, Any]
) -> None:
    message = getattr(schema, kind).FromString(bytes.fromhex(vector["proto"]))
    message.DiscardUnknownFields()
    assert message.SerializeToString(deterministic=True).hex() == vector["proto"]


@pytest.mark.parametrize(("kind", "vector"), FRAMES)
def test_other_spellings_are_the_same_frame(
    schema: ModuleType, kind: str, vector: dict[str, Any]
) -> None:
    for text in vector.get("also", []):
        message = to_message(schema, kind, json.loads(text))
        assert message.SerializeToString(deterministic=True).hex() == vector["proto"]


def test_every_verb_and_every_body_has_a_vector(schema: ModuleType) -> None:
    for side, kind, oneof in (("client", "ClientFrame", "verb"), ("server", "ServerFrame", "body")):
        declared = getattr(schema, kind).DESCRIPTOR.oneofs_by_name[oneof].fields
        seen = {
            getattr(schema, kind).FromString(bytes.fromhex(vector["proto"])).WhichOneof(oneof)
            for vector in VECTORS[side]
        }
        assert seen == {field.name for field in declared}


def test_every_refusal_is_in_the_catalogue() -> None:
    for vector in VECTORS["refused"]:
        assert Code[vector["code"].upper()] in CODES


def test_generated_files_are_fresh() -> None:
    result = subprocess.run(
        [sys.executable, str(SPEC / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert result.returncode == 0, result.stderr


def test_generator_refuses_a_catalogue_that_contradicts_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(SPEC))
    import generate  # type: ignore[import-not-found]  # a script, not a package

    code = {"number": 1001, "name": "a"}
    close = {"number": 4001, "name": "b", "reconnect": True}
    generate.check_codes([code], [close])
    for codes, closes in (
        ([code, code], [close]),
        ([{**code, "number": 9}], [close]),
        ([{**code, "close": 4002}], [close]),
        ([code], [{**close, "reconnect": False}]),
    ):
        with pytest.raises(generate.SpecError):
            generate.check_codes(codes, closes)
    with pytest.raises(generate.SpecError):
        generate.check_limits([{"name": "x", "default": 3, "min": 1, "max": 2}])


def test_codes_stand_in_the_range_of_their_kind() -> None:
    assert set(CODES) == set(Code)
    assert set(CLOSES) == set(Close)
    for code, info in CODES.items():
        assert code.name.lower() == info.name
        assert 1 <= code // 1000 <= 5
        assert 400 <= info.http < 600
    for close, closing in CLOSES.items():
        if close >= 4000:
            assert closing.reconnect == (close < 4500)


def test_limits_fit_together() -> None:
    assert (
        LIMITS["frame_bytes"].default
        >= LIMITS["body_bytes"].default + LIMITS["envelope_bytes"].default
    )
    assert LIMITS["page_items_default"].default <= LIMITS["page_items"].default
