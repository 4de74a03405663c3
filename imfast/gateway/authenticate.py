"""Who a client is: JSON web tokens (RFC 7519), checked under rules that the token has no say in.

The algorithm and the key are configuration's; the token's header cannot choose them (RFC 8725,
section 3.1). `sub` is the user, `tenant` the tenant; `exp` must be there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from imfast.errors import ConfigError, TokenExpiredError, TokenInvalidError
from imfast.gateway.hs256 import PlainTokens
from imfast.identifiers import DEFAULT_TENANT, TenantId, UserId, is_identifier
from imfast.limits import TOKEN_BYTES

if TYPE_CHECKING:
    from imfast.gateway.jwks import KeySet

__all__ = ["Authenticator", "Identity", "load_all"]

EXPIRY_S_MAX = (1 << 53) // 1000
"""Beyond it an expiry in milliseconds is no exact JSON number."""

_PLAIN_SECRET = re.compile(rb"(?!ssh-|ecdsa-)[A-Za-z0-9+/=_-]+")
"""Hex, base64 and base64url: no PEM, DER, JWK or OpenSSH key."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a good token says."""

    user: UserId
    tenant: TenantId
    expires_at_ms: int
    """Wall time at which the session ends, the leeway included."""
    issued_at_ms: int
    """Wall time of the signature; 0 when the token does not say."""
    credential: int = 0
    """Names the token; 0: that is for whoever has it to say."""


def load_all() -> None:
    """Loads what only unusual tokens need, ahead of the first."""
    import jwt as jwt


def _prepared(algorithm: str, key: bytes) -> Any:
    """The key as PyJWT uses it. Parsed once, not at every token: a PEM costs more than a signature.

    Raises:
        ConfigError: it is not one for the algorithm.
    """
    # PyJWT is loaded when it is needed: that takes longer than all else of a worker's start. Of a
    # secret it refuses what is a key of another kind, and so does not look like these.
    if algorithm == "HS256" and _PLAIN_SECRET.fullmatch(key):
        return key
    import jwt

    try:
        return jwt.get_algorithm_by_name(algorithm).prepare_key(key)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise ConfigError(
            f"option jwt_public_key_file: holds no public key for {algorithm}: {error}"
        ) from None


class Authenticator:
    """Checks tokens. It never signs any: that is the issuer's, or in development the CLI's."""

    def __init__(
        self,
        *,
        algorithm: Literal["HS256", "RS256", "EdDSA"],
        key: bytes,
        issuer: str | None = None,
        audience: str | None = None,
        leeway_s: float = 0.0,
        key_set: KeySet | None = None,
    ) -> None:
        """Takes the rules; see the options jwt_*.

        Args:
            key: the shared secret, or the public key's PEM.
            key_set: in the place of both: the issuer's public keys, each with its algorithm.

        Raises:
            ConfigError: the key is not one for the algorithm.
        """
        self._algorithm = algorithm
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s
        self._key_set = key_set
        self._key = _prepared(algorithm, key) if key_set is None else None
        self._plain = (
            PlainTokens(self._key, issuer=issuer, audience=audience, leeway_s=leeway_s)
            if isinstance(self._key, bytes)
            else None
        )
        self._options: Any = {
            "require": ["exp", "sub"],
            "verify_aud": audience is not None,
            "verify_iss": issuer is not None,
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
        if self._plain is not None and (known := self._plain.claims(token)) is not None:
            return self._identity(known)
        import jwt

        try:
            key: Any = self._key
            algorithm: str = self._algorithm
            if self._key_set is not None:
                # The token says which key; what that is used with, the key does.
                found = self._key_set.find(jwt.get_unverified_header(token).get("kid"))
                key, algorithm = found.key, found.algorithm
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
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

    def _identity(self, claims: dict[str, Any]) -> Identity:
        user, tenant = claims["sub"], claims.get("tenant", DEFAULT_TENANT)
        if not is_identifier(user):
            raise TokenInvalidError("`sub` is no user id: 1 to 128 bytes of UTF-8, no controls")
        if not is_identifier(tenant):
            raise TokenInvalidError("`tenant` is no tenant id: 1 to 128 bytes of UTF-8")
        try:
            expires_s, issued_s = float(claims["exp"]), float(claims.get("iat", 0))
        except OverflowError:
            raise TokenInvalidError("`exp` or `iat` is no time") from None
        if not expires_s <= EXPIRY_S_MAX or not 0 <= issued_s <= EXPIRY_S_MAX:
            raise TokenInvalidError("`exp` or `iat` is no time")
        return Identity(
            user=user,
            tenant=tenant,
            expires_at_ms=int((expires_s + self._leeway_s) * 1000),
            issued_at_ms=int(issued_s * 1000),
        )
