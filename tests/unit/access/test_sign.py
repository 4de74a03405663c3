"""Tokens that the command line signs are those that the gateway accepts."""

from __future__ import annotations

import time
from pathlib import Path

import jwt
import pytest

from imfast.access.sign import sign_token
from imfast.config.keys import token_key
from imfast.config.load import load
from imfast.config.schema import Settings
from imfast.errors import ConfigError, TokenExpiredError
from imfast.gateway.authenticate import Authenticator


def settings_with(tmp_path: Path, **flags: str) -> Settings:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 32)
    return load({"jwt_secret_file": str(secret), **flags}).settings


def authenticator_of(settings: Settings) -> Authenticator:
    return Authenticator(
        algorithm=settings.jwt_algorithm,
        key=token_key(settings),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway_s=settings.jwt_leeway_s,
    )


@pytest.mark.parametrize("flags", [{}, {"jwt_issuer": "us"}, {"jwt_audience": "chat"}])
def test_signed_token_passes_the_rules_of_the_same_settings(tmp_path: Path, flags: dict[str, str]):
    settings = settings_with(tmp_path, **flags)
    token = sign_token(settings, "bøb", ttl_s=60, tenant="acme")
    identity = authenticator_of(settings).verify(token)
    assert (identity.user, identity.tenant) == ("bøb", "acme")
    assert 58_000 <= identity.expires_at_ms - time.time() * 1000 <= 61_000


def test_signed_token_is_what_pyjwt_would_make_of_its_claims(tmp_path: Path):
    settings = settings_with(tmp_path, jwt_issuer="us", jwt_audience="chat")
    token = sign_token(settings, "bøb", ttl_s=60, tenant="acme", now_s=1e9)
    decoded = jwt.decode_complete(
        token,
        token_key(settings),
        algorithms=["HS256"],
        audience="chat",
        options={"verify_exp": False},
    )
    assert decoded["header"] == {"alg": "HS256", "typ": "JWT"}
    assert decoded["payload"] == {
        "sub": "bøb",
        "iat": 10**9,
        "exp": 10**9 + 60,
        "tenant": "acme",
        "iss": "us",
        "aud": "chat",
    }


def test_token_expires_after_its_time(tmp_path: Path):
    settings = settings_with(tmp_path)
    token = sign_token(settings, "alice", ttl_s=60, now_s=time.time() - 61)
    with pytest.raises(TokenExpiredError):
        authenticator_of(settings).verify(token)


@pytest.mark.parametrize("user", ["", "a" * 129, "tab\t", "\ud800"])
def test_token_for_what_is_no_user_is_not_signed(tmp_path: Path, user: str):
    with pytest.raises(ValueError, match="1 to 128 bytes"):
        sign_token(settings_with(tmp_path), user, ttl_s=60)


def test_server_with_a_public_key_cannot_sign():
    settings = load({"jwt_algorithm": "EdDSA", "jwt_public_key_file": "k.pem"}).settings
    with pytest.raises(ConfigError, match="only the public key"):
        sign_token(settings, "alice", ttl_s=60)
