"""The description of the HTTP API (OpenAPI 3.1), made of the definitions and of nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from imfast.codes import CODES
from imfast.definitions.fields import Wire
from imfast.definitions.operations import BACKEND, VERBS, Operation

__all__ = ["document", "document_json"]

FRAMING_STATUSES = frozenset({405, 411, 415, 417})
"""What a request gets that is none, besides the statuses of the codes."""

MEDIA = "application/json"
PROBLEM = "application/problem+json"


class Problem(Wire):
    """An error (RFC 9457)."""

    status: int
    title: str
    detail: str
    code: int
    """Of the catalogue of codes."""
    reason: str
    retryable: bool
    type: str = "about:blank"
    retry_after_ms: int = 0


def _statuses() -> list[int]:
    # 500 is a fault of the server: nobody has to expect it.
    of_codes = {code.http for code in CODES.values()}
    return sorted((of_codes | FRAMING_STATUSES) - {500})


def _schemas() -> tuple[dict[type[Wire], Any], dict[str, Any]]:
    types = {op.request for op in (*VERBS, *BACKEND)} | {op.answer for op in (*VERBS, *BACKEND)}
    ordered: list[type[Wire]] = [*sorted(types, key=lambda one: one.__name__), Problem]
    references, components = msgspec.json.schema_components(
        ordered, ref_template="#/components/schemas/{name}"
    )
    return dict(zip(ordered, references, strict=True)), components


def _operation(
    operation: Operation, references: Mapping[type[Wire], Any], problems: Mapping[str, Any]
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.path.removeprefix("/v1/").replace("/", "_"),
        "summary": operation.summary,
        "tags": ["server" if operation.scope else "client"],
        "security": [{"key" if operation.scope else "token": []}],
        "requestBody": {
            "required": True,
            "content": {MEDIA: {"schema": references[operation.request]}},
        },
        "responses": {
            "200": {
                "description": operation.answer.__doc__ or "",
                "content": {MEDIA: {"schema": references[operation.answer]}},
            },
            **problems,
        },
    }
    if operation.scope:
        described["description"] = f"A key with the scope `{operation.scope}` is needed."
    parameters = list(_parameters(operation))
    if parameters:
        described["parameters"] = parameters
    return described


def _parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    if operation.keyed:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "In the place of `key`; a batch's items get it with their index.",
            "schema": {"type": "string", "maxLength": 100, "pattern": "^[!#-~]*$"},
        }
    if operation.name in {"ack", "conversations"} and not operation.scope:
        yield {
            "name": "device",
            "in": "query",
            "description": "The device that it is about.",
            "schema": {"type": "string", "maxLength": 128},
        }


def document() -> dict[str, Any]:
    """The description as Python's own types."""
    references, components = _schemas()
    problem = {
        "description": "Refused; `code` and `reason` say why.",
        "content": {PROBLEM: {"schema": references[Problem]}},
    }
    problems = {str(status): {"$ref": "#/components/responses/Problem"} for status in _statuses()}
    paths: dict[str, Any] = {
        operation.path: {"post": _operation(operation, references, problems)}
        for operation in (*VERBS, *BACKEND)
    }
    paths["/v1/events"] = {"get": _events(problems)}
    paths["/v1/cookie"] = _cookie(problems)
    paths["/healthz"] = {"get": _probe("The worker lives.", "text/plain", {})}
    paths["/readyz"] = {"get": _probe("The worker serves.", MEDIA, {"503": problems["503"]})}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "imfast",
            "version": "1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "The verbs of clients and the server API over HTTP. spec/wire.md says"
            " what they promise.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {"Problem": problem},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key that `imfast key create` made.",
                },
            },
        },
    }


def _events(problems: Mapping[str, Any]) -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    return {
        "operationId": "events",
        "summary": "Pushes, as server-sent events.",
        "tags": ["client"],
        "security": [{"token": []}, {}],
        "parameters": [
            {"name": name, "in": "query", "description": what, "schema": {"type": "string"}}
            for name, what in (
                ("ticket", "In the place of a token."),
                ("sync", "A sync token to go on from."),
                ("device", "The device that listens."),
            )
        ],
        "responses": {
            "200": {"description": "A stream.", "content": {"text/event-stream": text}},
            **problems,
        },
    }


def _cookie(problems: Mapping[str, Any]) -> dict[str, Any]:
    done = {"204": {"description": "Done."}, **problems}
    return {
        "post": {
            "operationId": "cookie_set",
            "summary": "Keep the token of this request in a cookie that no script can read.",
            "tags": ["client"],
            "security": [{"token": []}],
            "requestBody": {"content": {MEDIA: {"schema": {"type": "object"}}}},
            "responses": done,
        },
        "delete": {
            "operationId": "cookie_clear",
            "summary": "Forget the cookie.",
            "tags": ["client"],
            "responses": done,
        },
    }


def _probe(what: str, media: str, more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "summary": what,
        "tags": ["health"],
        "responses": {"200": {"description": "It does.", "content": {media: {}}}, **more},
    }


def document_json() -> bytes:
    """The description as it is served."""
    return msgspec.json.encode(document())
