"""Who a client is: JSON web tokens (RFC 7519), checked under rules that the token has no say in.

The algorithm and the key are configuration's; the token's header cannot choose them (RFC 8725,
section 3.1). `sub` is the user, `tenant` the tenant; `exp` must be there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jwt

from imfast.config.keys import token_key
from imfast.config.schema import Settings
from imfast.errors import ConfigError, TokenExpiredError, TokenInvalidError
from imfast.identifiers import DEFAULT_TENANT, TenantId, UserId, is_identifier
from imfast.limits import TOKEN_BYTES

__all__ = ["Authenticator", "Identity"]

EXPIRY_S_MAX = (1 << 53) // 1000
"""Beyond it an expiry in milliseconds is no exact JSON number."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a good token says."""

    user: UserId
    tenant: TenantId
    expires_at_ms: int
    """Wall time at which the session ends, the leeway included."""
    issued_at_ms: int
    """Wall time of the signature; 0 when the token does not say."""


class Authenticator:
    """Checks tokens, and signs them for development."""

    def __init__(self, settings: Settings) -> None:
        """Reads the key once.

        Raises:
            ConfigError: the key's file is missing, unreadable or of another kind.
        """
        self._algorithm = settings.jwt_algorithm
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._leeway_s = settings.jwt_leeway_s
        content = token_key(settings)
        try:
            # Parsed here, not at every token: a PEM costs more than a signature.
            self._key = jwt.get_algorithm_by_name(self._algorithm).prepare_key(content)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise ConfigError(
                f"option jwt_public_key_file: {settings.jwt_public_key_file}: no public key for"
                f" {self._algorithm}: {error}"
            ) from None
        self._options: Any = {
            "require": ["exp", "sub"],
            "verify_aud": self._audience is not None,
            "verify_iss": self._issuer is not None,
        }

    def verify(self, token: str) -> Identity:
        """Checks signature, times and claims.

        Raises:
            TokenExpiredError: good once, too late now.
            TokenInvalidError: anything else. The text names the reason, never the token.
        """
        # Refused unread: what a stranger's token costs is bounded before its signature is known.
        if len(token) > TOKEN_BYTES.default:
            raise TokenInvalidError("the token is too long")
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_s,
                options=self._options,
            )
        except jwt.ExpiredSignatureError:
            raise TokenExpiredError("the token has expired") from None
        except jwt.PyJWTError as error:
            raise TokenInvalidError(f"the token is not accepted: {type(error).__name__}") from None
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            # From the JSON inside, which is read before the signature is checked.
            raise TokenInvalidError(f"the token is malformed: {type(error).__name__}") from None
        return self._identity(claims)

    def issue(
        self, user: str, *, ttl_s: float, tenant: str = DEFAULT_TENANT, now_s: float | None = None
    ) -> str:
        """Signs a token, for development and for tests.

        Args:
            ttl_s: seconds until it expires.
            now_s: wall time in seconds; the clock's when not given.

        Raises:
            ConfigError: only the issuer can sign: this server knows its public key alone.
            ValueError: `user` or `tenant` is no identifier.
        """
        if self._algorithm != "HS256":
            raise ConfigError(
                f"option jwt_algorithm: {self._algorithm}: this server has only the public key;"
                " the issuer of your tokens signs them"
            )
        if not is_identifier(user) or not is_identifier(tenant):
            raise ValueError("a user or tenant is 1 to 128 bytes of UTF-8 without controls")
        now = time.time() if now_s is None else now_s
        claims: dict[str, Any] = {"sub": user, "iat": int(now), "exp": int(now + ttl_s)}
        if tenant != DEFAULT_TENANT:
            claims["tenant"] = tenant
        if self._issuer is not None:
            claims["iss"] = self._issuer
        if self._audience is not None:
            claims["aud"] = self._audience
        return jwt.encode(claims, self._key, self._algorithm)

    def _identity(self, claims: dict[str, Any]) -> Identity:
        user, tenant = claims["sub"], claims.get("tenant", DEFAULT_TENANT)
        if not is_identifier(user):
            raise TokenInvalidError("`sub` is no user id: 1 to 128 bytes of UTF-8, no controls")
        if not is_identifier(tenant):
            raise TokenInvalidError("`tenant` is no tenant id: 1 to 128 bytes of UTF-8")
        expires_s, issued_s = float(claims["exp"]), float(claims.get("iat", 0))
        if not expires_s <= EXPIRY_S_MAX or not 0 <= issued_s <= EXPIRY_S_MAX:
            raise TokenInvalidError("`exp` or `iat` is no time")
        return Identity(
            user=user,
            tenant=tenant,
            expires_at_ms=int((expires_s + self._leeway_s) * 1000),
            issued_at_ms=int(issued_s * 1000),
        )
