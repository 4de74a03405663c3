"""The description that is served, checked by what reads such descriptions: schemathesis."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from imfast.definitions.operations import BACKEND, VERBS
from imfast.gateway.backend.service import HANDLERS, SCOPE_OF
from tests.support.api_key import key_command
from tests.support.server import ROOT, Server

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
EXAMPLES = 12


async def test_every_operation_is_described_and_has_a_handler(shared: Server) -> None:
    async with httpx.AsyncClient(base_url=shared.url("http"), trust_env=False) as client:
        answer = await client.get("/v1/openapi.json")
        assert answer.headers["Content-Type"] == "application/json"
        described: dict[str, Any] = answer.json()
        head = await client.head("/v1/openapi.json")
        assert head.headers["Content-Length"] == answer.headers["Content-Length"]
    assert described["openapi"] == "3.1.0"
    assert HANDLERS.keys() == SCOPE_OF.keys() == {one.name for one in BACKEND}
    for operation in (*VERBS, *BACKEND):
        post = described["paths"][operation.path]["post"]
        assert post["security"] == [{"key" if operation.scope else "token": []}]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("half", ["client", "server"])
async def test_answers_are_as_described_whatever_is_asked(
    shared: Server, half: str, tmp_path: Path
) -> None:
    if half == "server":
        bearer = await key_command(shared, "create", "thesis", "--scope", "all")
    else:
        bearer = await shared.token("thesis")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run"),
        f"{shared.url('http')}/v1/openapi.json",
        *("--include-tag", half),
        *("--exclude-path", "/v1/events"),
        *("--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing"),
        *("--max-examples", str(EXAMPLES)),
        *("--max-failures", "5"),
        *("--max-time", "12"),
        *("--request-timeout", "20"),
        *("--seed", os.environ.get("SEED", "7")),
        *("--header", f"Authorization: Bearer {bearer}"),
        "--no-color",
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-8000:]
    assert ROOT not in tmp_path.parents
