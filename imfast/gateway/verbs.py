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
from imfast.gateway.access import admitted
from imfast.gateway.circuit_breaker import CircuitBreaker
from imfast.gateway.tickets import PREFIX, TICKET_S

if TYPE_CHECKING:
    from imfast._engine import Engine, Request
    from imfast.access.revocations import Revocations
    from imfast.gateway.authenticate import Authenticator, Identity
    from imfast.gateway.client_certificates import ClientCertificates
    from imfast.gateway.control import Control
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
        revocations: Revocations | None = None,
        control: Control | None = None,
    ) -> None:
        """What is not named below goes ahead: the engine has checked its limits already.

        Without `tickets` nobody gets one; without `certificates` none stands for a token; without
        `revocations` nothing was called back; without `control` there is nothing for backends and
        browsers.
        """
        self._engine = engine
        self._authenticator = authenticator
        self._tickets = tickets
        self._certificates = certificates
        self._revocations = revocations
        self._control = control
        self._breaker = CircuitBreaker("token verification")
        self._served: dict[str, Callable[[Request], None]] = {
            "connect": self._connect,
            "refresh": self._refresh,
            "ticket": self._ticket,
            "redeem": self._redeem,
            "control": self._serve_control,
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

    def settle(self) -> None:
        """Acts that were begun for backends have their answers."""
        if self._control is not None:
            self._control.settle()

    def _verify(self, token: str) -> Identity:
        with self._breaker.guard():
            identity = self._authenticator.verify(token)
        return self._admitted(identity, token)

    def _admitted(self, identity: Identity, token: str) -> Identity:
        if self._revocations is None:
            return identity
        return admitted(identity, token, self._revocations)

    def _connect(self, request: Request) -> None:
        # A ticket may stand in for a token: a page whose token is in a cookie has nothing else.
        if request.token.startswith(PREFIX) and self._tickets is not None:
            self._redeem(request)
        elif request.certificate and self._certificates is not None:
            identity = self._certificates.identify(request.certificate)
            self._connected(request, self._admitted(identity, request.certificate.hex()))
        else:
            self._connected(request, self._verify(request.token))

    def _connected(self, request: Request, identity: Identity) -> None:
        self._engine.connected(
            request.connection,
            identity.tenant,
            identity.user,
            identity.expires_at_ms,
            identity.credential,
        )

    def _serve_control(self, request: Request) -> None:
        if self._control is None:
            self._engine.refuse(request.connection, Code.UNSUPPORTED)
            return
        self._control.serve(request, self._verify)

    def _ticket(self, request: Request) -> None:
        if self._tickets is None:
            self._engine.refuse(request.connection, Code.UNSUPPORTED)
            return
        ticket = self._tickets.issue(
            request.user, request.tenant, request.expires_at_ms, request.credential
        )
        self._engine.ticketed(request.connection, ticket, round(TICKET_S * 1000))

    def _redeem(self, request: Request) -> None:
        if self._tickets is None:
            self._engine.refuse(request.connection, Code.TOKEN_INVALID)
            return
        identity = self._tickets.redeem(request.token)
        self._connected(request, self._admitted(identity, request.token))

    def _refresh(self, request: Request) -> None:
        identity = self._verify(request.token)
        if (identity.user, identity.tenant) != (request.user, request.tenant):
            self._engine.refuse(
                request.connection, Code.TOKEN_INVALID, "the token is another user's"
            )
            return
        self._engine.refreshed(request.connection, identity.expires_at_ms, identity.credential)
