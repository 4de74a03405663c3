"""Control verbs: each is let through, refused with a code, or (connect, refresh) answered.

The engine holds back a connection's later frames until one of these has decided. What is decided
here is policy; whether a user may do it to a conversation is the owner's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from imfast.codes import Code
from imfast.errors import RequestError
from imfast.gateway.circuit_breaker import CircuitBreaker
from imfast.gateway.tickets import TICKET_S

if TYPE_CHECKING:
    from imfast._engine import Engine, Request
    from imfast.gateway.authenticate import Authenticator, Identity
    from imfast.gateway.client_certificates import ClientCertificates
    from imfast.gateway.tickets import Tickets

__all__ = ["Verbs"]

log = structlog.get_logger(__name__)


class Verbs:
    """Decides about one request at a time, quickly: it runs on the worker's loop."""

    def __init__(
        self,
        engine: Engine,
        authenticator: Authenticator,
        tickets: Tickets | None = None,
        certificates: ClientCertificates | None = None,
    ) -> None:
        """What is not named below goes ahead: the engine has checked its limits already.

        Without `tickets` nobody gets one; without `certificates` none stands for a token.
        """
        self._engine = engine
        self._authenticator = authenticator
        self._tickets = tickets
        self._certificates = certificates
        self._breaker = CircuitBreaker("token verification")
        self._served: dict[str, Callable[[Request], None]] = {
            "connect": self._connect,
            "refresh": self._refresh,
            "ticket": self._ticket,
            "redeem": self._redeem,
        }

    def decide(self, request: Request) -> None:
        """Answers the engine about `request`."""
        serve = self._served.get(request.verb)
        if serve is None:
            self._engine.proceed(request.connection)
            return
        try:
            serve(request)
        except RequestError as error:
            # The reason is logged, not told: it would help whoever forges tokens.
            log.info("request refused", verb=request.verb, code=error.code.name, reason=str(error))
            self._engine.refuse(request.connection, error.code, retry_after_ms=error.retry_after_ms)

    def _verify(self, token: str) -> Identity:
        with self._breaker.guard():
            return self._authenticator.verify(token)

    def _connect(self, request: Request) -> None:
        if request.certificate and self._certificates is not None:
            identity = self._certificates.identify(request.certificate)
        else:
            identity = self._verify(request.token)
        self._engine.connected(
            request.connection, identity.tenant, identity.user, identity.expires_at_ms
        )

    def _ticket(self, request: Request) -> None:
        if self._tickets is None:
            self._engine.refuse(request.connection, Code.UNSUPPORTED)
            return
        ticket = self._tickets.issue(request.user, request.tenant, request.expires_at_ms)
        self._engine.ticketed(request.connection, ticket, round(TICKET_S * 1000))

    def _redeem(self, request: Request) -> None:
        if self._tickets is None:
            self._engine.refuse(request.connection, Code.TOKEN_INVALID)
            return
        identity = self._tickets.redeem(request.token)
        self._engine.connected(
            request.connection, identity.tenant, identity.user, identity.expires_at_ms
        )

    def _refresh(self, request: Request) -> None:
        identity = self._verify(request.token)
        if (identity.user, identity.tenant) != (request.user, request.tenant):
            self._engine.refuse(
                request.connection, Code.TOKEN_INVALID, "the token is another user's"
            )
            return
        self._engine.refreshed(request.connection, identity.expires_at_ms)
