"""Signs tokens: for who can read the server's shared secret, or has a key of its server API."""

from __future__ import annotations

import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any, Protocol

import orjson

from imfast.config.keys import KeyOptions, token_key
from imfast.errors import ConfigError
from imfast.identifiers import DEFAULT_TENANT, is_identifier

__all__ = ["SignOptions", "sign_token", "signer"]

HEADER = {"alg": "HS256", "typ": "JWT"}


class SignOptions(KeyOptions, Protocol):
    """The options that say what a token has to look like: the schema's, or a worker's."""

    @property
    def jwt_issuer(self) -> str | None: ...
    @property
    def jwt_audience(self) -> str | None: ...


def sign_token(
    settings: SignOptions,
    user: str,
    *,
    ttl_s: float,
    tenant: str = DEFAULT_TENANT,
    now_s: float | None = None,
) -> str:
    """Returns a token that a server with these settings accepts.

    Args:
        ttl_s: seconds until it expires.
        now_s: wall time in seconds; the clock's when not given.

    Raises:
        ConfigError: the secret cannot be read, or this server knows a public key alone.
        ValueError: `user` or `tenant` is no identifier.
    """
    if settings.jwt_algorithm != "HS256" or settings.jwt_jwks_file is not None:
        raise ConfigError(
            "option jwt_algorithm or jwt_jwks_file: this server has only the public"
            " key; the issuer of your tokens signs them"
        )
    if not is_identifier(user) or not is_identifier(tenant):
        raise ValueError("a user or tenant is 1 to 128 bytes of UTF-8 without controls")
    now = time.time() if now_s is None else now_s
    claims: dict[str, Any] = {"sub": user, "iat": int(now), "exp": int(now + ttl_s)}
    if tenant != DEFAULT_TENANT:
        claims["tenant"] = tenant
    if settings.jwt_issuer is not None:
        claims["iss"] = settings.jwt_issuer
    if settings.jwt_audience is not None:
        claims["aud"] = settings.jwt_audience
    # RFC 7515, section 7.1. Not by PyJWT, which a server would load only to announce itself.
    content = b".".join(map(_segment, (orjson.dumps(HEADER), orjson.dumps(claims))))
    signature = hmac.digest(token_key(settings), content, "sha256")
    return (content + b"." + _segment(signature)).decode()


def signer(settings: SignOptions) -> Callable[[str, str, float], str] | None:
    """Makes a token for (user, tenant, seconds); None: this server knows a public key alone."""
    if settings.jwt_algorithm != "HS256" or settings.jwt_jwks_file is not None:
        return None
    return lambda user, tenant, ttl_s: sign_token(settings, user, ttl_s=ttl_s, tenant=tenant)


def _segment(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")
