"""Requests over HTTP that are no verbs of clients: the server API, its description, a browser's
cookie, and in development the demonstration.

What a first request of a kind needs is loaded by it: a worker's start does not pay for that.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from imfast.codes import Code
from imfast.errors import RequestError, UnsupportedError
from imfast.gateway.acts import Acts

if TYPE_CHECKING:
    from imfast._engine import Engine, Request
    from imfast.access.revocations import Revocations
    from imfast.gateway.authenticate import Identity
    from imfast.gateway.backend.call import Node
    from imfast.gateway.backend.service import Backend

__all__ = ["Control"]

JSON = "application/json"
COOKIE = "imfast"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Under these names alone the demonstration is shown: a page of another name that leads here would
be given tokens too."""

DEMO_TTL_S = 3600.0
NO_STORE = [("Cache-Control", "no-store")]
DEMO_HEADERS = [
    *NO_STORE,
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
]


class Control:
    """Serves them on one worker."""

    def __init__(
        self,
        engine: Engine,
        *,
        data_dir: Path,
        node: Node,
        revocations: Revocations,
        sign: Callable[[str, str, float], str] | None,
        page_items_max: int,
        demo: bool,
    ) -> None:
        """`sign` makes a token for (user, tenant, seconds) where this server can.

        `demo`: whether anybody may have a token, which is for development alone.
        """
        self._engine = engine
        self._acts = Acts(engine)
        self._data_dir = data_dir
        self._node = node
        self._revocations = revocations
        self._sign = sign
        self._page_items_max = page_items_max
        self._demo = demo
        self._backend: Backend | None = None
        self._description: bytes | None = None

    def settle(self) -> None:
        """Acts have their answers."""
        self._acts.settle()

    def serve(self, request: Request, verify: Callable[[str], Identity]) -> None:
        """Answers, now or later. A refusal says why: whoever asks has a key, or is a developer."""
        try:
            if request.path.startswith("/v1/server/"):
                self._served_backend().serve(request)
            elif request.path == "/v1/openapi.json":
                self._describe(request)
            elif request.path == "/v1/cookie":
                self._cookie(request, verify)
            elif self._demo and self._sign and _name(request.host) in LOOPBACK:
                self._show(request, self._sign)
            else:
                raise UnsupportedError("there is nothing here")
        except RequestError as error:
            self._engine.refuse(request.connection, error.code, str(error), error.retry_after_ms)

    def _served_backend(self) -> Backend:
        if self._backend is None:
            from imfast.access.api_keys import KeyRing
            from imfast.gateway.backend.call import Setting
            from imfast.gateway.backend.service import Backend

            setting = Setting(
                self._acts, self._node, self._revocations, self._sign, self._page_items_max
            )
            self._backend = Backend(self._engine, KeyRing(self._data_dir), setting)
        return self._backend

    def _describe(self, request: Request) -> None:
        if self._description is None:
            from imfast.definitions.openapi import document_json

            self._description = document_json()
        headers = [("Cache-Control", "public, max-age=300")]
        self._engine.respond(request.connection, 200, JSON, self._description, headers)

    def _cookie(self, request: Request, verify: Callable[[str], Identity]) -> None:
        value, age = "", "Max-Age=0"
        if request.method == "POST":
            if not request.token:
                self._engine.refuse(request.connection, Code.NOT_CONNECTED)
                return
            verify(request.token)
            # Until the browser closes; the token ends by itself.
            value, age = request.token, ""
        # A page on TLS says so, wherever TLS ends.
        secure = "Secure" if request.origin.startswith("https:") else ""
        parts = (f"{COOKIE}={value}", "Path=/v1", "HttpOnly", "SameSite=Strict", secure, age)
        headers = [*NO_STORE, ("Set-Cookie", "; ".join(filter(None, parts)))]
        self._engine.respond(request.connection, 204, "", b"", headers)

    def _show(self, request: Request, sign: Callable[[str, str, float], str]) -> None:
        from imfast.gateway.demo import demo_page, named

        if request.path == "/demo":
            page = demo_page()
            self._engine.respond(
                request.connection, 200, "text/html; charset=utf-8", page, DEMO_HEADERS
            )
            return
        user, answer = named(request.body)
        token = sign(user, "default", DEMO_TTL_S)
        self._engine.respond(request.connection, 200, JSON, answer(token), NO_STORE)


def _name(host: str) -> str:
    """A `Host` without its port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()
