"""A shortcut for the tokens that nearly all clients bring: HS256, an everyday header, plain claims.

It accepts less than PyJWT and refuses nothing: whatever is unusual, wrong or too late is PyJWT's to
judge and to name. What is accepted here, PyJWT would accept with the same claims; that costs a
fraction, as neither the header nor each rule of RFC 7519 is looked at again for every token.
"""

from __future__ import annotations

import binascii
import hmac
import json
import time
from base64 import urlsafe_b64encode
from typing import Any

__all__ = ["PlainTokens"]


def _segment(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


_HEADERS = frozenset(
    _segment(json.dumps(header, separators=separators).encode())
    for header in (
        {"alg": "HS256", "typ": "JWT"},
        {"typ": "JWT", "alg": "HS256"},
        {"alg": "HS256"},
    )
    for separators in ((",", ":"), (", ", ": "))
)
"""The headers that issuers write, as they stand in a token: compared, not read."""

_TO_STANDARD = str.maketrans("-_", "+/")


class PlainTokens:
    """Rules under which a token's claims are taken as they are."""

    def __init__(
        self, key: bytes, *, issuer: str | None, audience: str | None, leeway_s: float
    ) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s

    def claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that is good beyond doubt; None: ask PyJWT."""
        content, _, signature = token.rpartition(".")
        header, _, payload = content.partition(".")
        if header not in _HEADERS or not token.isascii():
            return None
        wanted = _segment(hmac.digest(self._key, content.encode(), "sha256"))
        if not hmac.compare_digest(wanted, signature):
            return None
        try:
            # Strict: as PyJWT, nothing but the alphabet, and no bits left over.
            decoded = binascii.a2b_base64(
                payload.translate(_TO_STANDARD) + "=" * (-len(payload) % 4), strict_mode=True
            )
            claims = json.loads(decoded)
        except (ValueError, RecursionError):
            return None
        if _segment(decoded) != payload or type(claims) is not dict:
            return None
        return claims if self._are_plain(claims) else None

    def _are_plain(self, claims: dict[str, Any]) -> bool:
        """Whether times are whole numbers of seconds and hold now, and who is meant is text."""
        now = time.time()
        latest = now + self._leeway_s
        if type(claims.get("sub")) is not str or type(claims.get("jti", "")) is not str:
            return False
        times: tuple[Any, ...] = (claims.get("exp"), claims.get("iat", 0), claims.get("nbf", 0))
        if any(type(one) is not int for one in times):
            return False
        expires, issued, begins = times
        if not (expires > now - self._leeway_s and issued <= latest and begins <= latest):
            return False
        if self._issuer is not None and claims.get("iss") != self._issuer:
            return False
        # PyJWT takes an empty audience for none.
        audience = self._audience
        return audience is None or (audience != "" and claims.get("aud") == audience)
