"""Tokens that are accepted, and all the ways of not being one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from imfast.codes import Code
from imfast.errors import ConfigError, TokenExpiredError, TokenInvalidError
from imfast.gateway.authenticate import Authenticator

SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def authenticator() -> Authenticator:
    return Authenticator(algorithm="HS256", key=SECRET)


def signed(key: Any = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    now = int(time.time())
    base = {"sub": "alice", "iat": now, "exp": now + 60}
    base.update(claims)
    wanted = {name: value for name, value in base.items() if value is not None}
    return jwt.encode(wanted, key, algorithm)


def test_signed_token_is_accepted(authenticator: Authenticator):
    before_ms = int(time.time()) * 1000
    identity = authenticator.verify(signed())
    assert (identity.user, identity.tenant) == ("alice", "default")
    assert before_ms <= identity.issued_at_ms <= time.time() * 1000
    assert identity.expires_at_ms - identity.issued_at_ms == 60_000


def test_tenant_of_the_token_is_kept(authenticator: Authenticator):
    identity = authenticator.verify(signed(sub="bøb", tenant="acme"))
    assert (identity.user, identity.tenant) == ("bøb", "acme")


def test_token_that_does_not_say_when_it_was_issued_is_accepted(authenticator: Authenticator):
    assert authenticator.verify(signed(iat=None)).issued_at_ms == 0


def test_token_of_another_secret_is_invalid(authenticator: Authenticator):
    with pytest.raises(TokenInvalidError) as refusal:
        authenticator.verify(signed(key=b"x" * 32))
    assert refusal.value.code is Code.TOKEN_INVALID


def test_expired_token_is_told_apart(authenticator: Authenticator):
    with pytest.raises(TokenExpiredError) as refusal:
        authenticator.verify(signed(exp=int(time.time()) - 1))
    assert refusal.value.code is Code.TOKEN_EXPIRED


def test_expired_token_of_another_secret_is_invalid_not_expired(authenticator: Authenticator):
    with pytest.raises(TokenInvalidError):
        authenticator.verify(signed(key=b"x" * 32, exp=1))


def test_leeway_accepts_and_outlives_a_token_just_expired():
    authenticator = Authenticator(algorithm="HS256", key=SECRET, leeway_s=30.0)
    expired_s = int(time.time()) - 10
    identity = authenticator.verify(signed(exp=expired_s))
    assert identity.expires_at_ms == (expired_s + 30) * 1000


def encoded(part: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")


def unsigned(header: dict[str, Any]) -> str:
    claims = {"sub": "alice", "exp": int(time.time()) + 60}
    return b".".join(map(encoded, (header, claims))).decode() + "."


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, ["HS256"], {}])
def test_header_cannot_switch_the_signature_off(authenticator: Authenticator, algorithm: Any):
    with pytest.raises(TokenInvalidError):
        authenticator.verify(unsigned({"typ": "JWT", "alg": algorithm}))


def test_header_cannot_choose_another_hash(authenticator: Authenticator):
    long_secret = SECRET * 2
    with pytest.raises(TokenInvalidError):
        authenticator.verify(signed(key=long_secret, algorithm="HS512"))


def test_changed_claims_are_forged(authenticator: Authenticator):
    header, _, signature = signed().split(".")
    forged = encoded({"sub": "root", "exp": int(time.time()) + 60}).decode()
    with pytest.raises(TokenInvalidError):
        authenticator.verify(f"{header}.{forged}.{signature}")


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"exp": "soon"},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 1e300},
        {"exp": 10**400},
        {"exp": [1]},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\nb"},
        {"sub": "a" * 129},
        {"tenant": ""},
        {"tenant": 7},
        {"tenant": ["default"]},
        {"iat": "yesterday"},
        {"iat": -1},
        {"nbf": 1 << 40},
    ],
)
def test_signed_token_with_unusable_claims_is_invalid(
    authenticator: Authenticator, claims: dict[str, Any]
):
    with pytest.raises(TokenInvalidError):
        authenticator.verify(signed(**claims))


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "eyJ",
        "\ud800",
        "ü.ü.ü",
        "A" * 8193,
        base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=") + ".e30.AA",
        base64.urlsafe_b64encode(b'{"alg":"HS256","kid":7}').decode().rstrip("=") + ".e30.AA",
        base64.urlsafe_b64encode(b'{"alg":"HS256","crit":["b64"]}').decode().rstrip("=") + ".e30.",
        base64.urlsafe_b64encode(b"9" * 5000).decode().rstrip("=") + ".e30.AA",
    ],
)
def test_what_is_no_token_is_invalid(authenticator: Authenticator, token: str):
    with pytest.raises(TokenInvalidError) as refusal:
        authenticator.verify(token)
    assert not token or len(token) < 4 or token not in str(refusal.value)


def test_token_with_any_byte_changed_is_invalid(authenticator: Authenticator):
    token = signed()
    rng = random.Random(7)
    for _ in range(500):
        place = rng.randrange(len(token))
        changed = token[:place] + chr(rng.randrange(256)) + token[place + 1 :]
        if base64_equal(changed, token):
            continue
        with pytest.raises(TokenInvalidError):
            authenticator.verify(changed)


def base64_equal(one: str, other: str) -> bool:
    """Whether two tokens are the same bytes: base64's last character has unused bits."""

    def decode(token: str) -> list[bytes] | None:
        try:
            return [base64.urlsafe_b64decode(part + "==") for part in token.split(".")]
        except ValueError:
            return None

    return decode(one) == decode(other)


@pytest.mark.parametrize(("rule", "claim"), [("audience", "aud"), ("issuer", "iss")])
def test_required_claim_is_enforced(rule: str, claim: str):
    rules: dict[str, Any] = {rule: "chat"}
    authenticator = Authenticator(algorithm="HS256", key=SECRET, **rules)
    assert authenticator.verify(signed(**{claim: "chat"})).user == "alice"
    for wrong in ("other", None, "", "chat "):
        with pytest.raises(TokenInvalidError):
            authenticator.verify(signed(**{claim: wrong}))


def test_audience_nobody_requires_is_ignored(authenticator: Authenticator):
    assert authenticator.verify(signed(aud="somebody", iss="somebody")).user == "alice"


def key_pair(algorithm: str) -> tuple[Any, bytes]:
    private: Any = (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        if algorithm == "RS256"
        else ed25519.Ed25519PrivateKey.generate()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_token_of_an_issuer_with_a_key_pair(algorithm: Any):
    private, public = key_pair(algorithm)
    authenticator = Authenticator(algorithm=algorithm, key=public)

    assert authenticator.verify(signed(private, algorithm)).user == "alice"
    with pytest.raises(TokenInvalidError):
        authenticator.verify(signed(key_pair(algorithm)[0], algorithm))


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_public_key_is_no_shared_secret(algorithm: Any):
    _, public = key_pair(algorithm)
    claims = {"sub": "root", "exp": int(time.time()) + 60}
    head = b".".join(map(encoded, ({"alg": "HS256"}, claims)))
    mac = hmac.new(public, head, hashlib.sha256).digest()
    forged = head + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")
    with pytest.raises(TokenInvalidError):
        Authenticator(algorithm=algorithm, key=public).verify(forged.decode())


def test_key_of_another_kind_is_refused():
    for key in (key_pair("EdDSA")[1], b"no PEM"):
        with pytest.raises(ConfigError, match="no public key for RS256"):
            Authenticator(algorithm="RS256", key=key)


def keys_of_other_kinds() -> dict[str, bytes]:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    encoding, form = serialization.Encoding, serialization.PublicFormat
    return {
        "PEM": public.public_bytes(encoding.PEM, form.SubjectPublicKeyInfo),
        "DER": public.public_bytes(encoding.DER, form.SubjectPublicKeyInfo),
        "OpenSSH": public.public_bytes(encoding.OpenSSH, form.OpenSSH),
        "OpenSSH without a blank": public.public_bytes(encoding.OpenSSH, form.OpenSSH).split()[0]
        + b"A" * 32,
        "JWK": json.dumps({"kty": "oct", "k": "A" * 43}).encode(),
    }


@pytest.mark.parametrize("kind", ["PEM", "DER", "OpenSSH", "OpenSSH without a blank", "JWK"])
def test_key_of_another_kind_is_no_shared_secret(kind: str):
    with pytest.raises(ConfigError):
        Authenticator(algorithm="HS256", key=keys_of_other_kinds()[kind])


@pytest.mark.parametrize("secret", [b"a b" * 16, b"\xff" * 32, b"{" * 32, b"x" * 32])
def test_secret_that_is_any_bytes_checks_what_was_signed_with_it(secret: bytes):
    authenticator = Authenticator(algorithm="HS256", key=secret)
    assert authenticator.verify(signed(key=secret)).user == "alice"
    with pytest.raises(TokenExpiredError):
        authenticator.verify(signed(key=secret, exp=1))
