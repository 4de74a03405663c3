"""Checking a token, which is all the Python of a connect: every algorithm, beside the bare parts.

A worker's budget for control verbs (`--control-slice-s`, 1 ms) holds as many of these a tick.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any, Literal

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from imfast.gateway.authenticate import Authenticator

SECRET = b"a secret of thirty-two bytes, at least"
CLAIMS = {"sub": "alice", "iat": int(time.time()), "exp": int(time.time()) + 86_400}

Algorithm = Literal["HS256", "RS256", "EdDSA"]


def signed(algorithm: Algorithm) -> tuple[str, bytes]:
    """A token, and the key that it is checked with."""
    if algorithm == "HS256":
        return jwt.encode(CLAIMS, SECRET, "HS256"), SECRET
    private: Any = (
        ed25519.Ed25519PrivateKey.generate()
        if algorithm == "EdDSA"
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return jwt.encode(CLAIMS, private, algorithm), public


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "EdDSA"])
@pytest.mark.benchmark(group="check a token")
def test_authenticator(benchmark: Any, algorithm: Algorithm) -> None:
    token, key = signed(algorithm)
    verify = Authenticator(algorithm=algorithm, key=key).verify
    assert benchmark(verify, token).user == "alice"


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "EdDSA"])
@pytest.mark.benchmark(group="check a token")
def test_pyjwt_with_the_key_as_text(benchmark: Any, algorithm: Algorithm) -> None:
    token, key = signed(algorithm)
    assert benchmark(lambda: jwt.decode(token, key, [algorithm]))["sub"] == "alice"


@pytest.mark.benchmark(group="check a token")
def test_hs256_by_hand_without_any_rule(benchmark: Any) -> None:
    """What HMAC, base64 and JSON alone take: the least that a check can take in Python."""
    token, _ = signed("HS256")

    def check() -> str:
        content, _, signature = token.rpartition(".")
        wanted = hmac.digest(SECRET, content.encode(), hashlib.sha256)
        assert hmac.compare_digest(base64.urlsafe_b64decode(signature + "=="), wanted)
        claims = json.loads(base64.urlsafe_b64decode(content.partition(".")[2] + "=="))
        return str(claims["sub"])

    assert benchmark(check) == "alice"
