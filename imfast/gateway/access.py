"""Whether a good token counts: what was called back, and names that are the server's own."""

from __future__ import annotations

from dataclasses import replace

from imfast.access.revocations import Revocations, credential_of
from imfast.errors import TokenInvalidError, TokenRevokedError
from imfast.gateway.authenticate import Identity

__all__ = ["SYSTEM", "admitted"]

SYSTEM = "system"
"""Who the server API acts as when it names nobody. No token makes a client this user."""


def admitted(identity: Identity, token: str, revocations: Revocations) -> Identity:
    """The identity with what names its token.

    Raises:
        TokenRevokedError: it was called back, or the user is disabled.
        TokenInvalidError: the name is the server's own.
    """
    if identity.user == SYSTEM:
        raise TokenInvalidError(f"the user {SYSTEM!r} is the server itself")
    credential = identity.credential or credential_of(token)
    issued_at_ms = identity.issued_at_ms
    if revocations.covers(identity.tenant, identity.user, issued_at_ms, credential):
        raise TokenRevokedError("the token was called back, or the user is disabled")
    return replace(identity, credential=credential)
