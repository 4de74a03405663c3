"""The shortcut for everyday tokens accepts nothing that PyJWT would not, and hands on the rest."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imfast.gateway.hs256 import PlainTokens

SECRET = b"0123456789abcdef0123456789abcdef"
HEADER = b'{"alg":"HS256","typ":"JWT"}'
NOW = int(time.time())
LATER = NOW + 7200
"""Still to come when the last test of a long run begins."""


def segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(payload: str, header: bytes = HEADER, key: bytes = SECRET) -> str:
    content = f"{segment(header)}.{payload}"
    return f"{content}.{segment(hmac.digest(key, content.encode(), hashlib.sha256))}"


def token(**claims: Any) -> str:
    everyday = {"sub": "alice", "iat": NOW, "exp": NOW + 3600}
    return signed(segment(json.dumps({**everyday, **claims}).encode()))


def plain(**rules: Any) -> PlainTokens:
    return PlainTokens(SECRET, **{"issuer": None, "audience": None, "leeway_s": 0.0, **rules})


@pytest.mark.parametrize(
    "more", [{}, {"nbf": NOW - 5, "jti": "7", "tenant": "acme"}, {"aud": "chat", "iss": "us"}]
)
def test_everyday_token_takes_the_shortcut(more: dict[str, Any]):
    claims = plain().claims(token(**more))
    assert claims is not None
    assert claims["sub"] == "alice"


def test_token_as_pyjwt_writes_it_takes_the_shortcut():
    written = jwt.encode({"sub": "alice", "exp": LATER}, SECRET, "HS256")
    assert plain().claims(written) == {"sub": "alice", "exp": LATER}


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - 1},
        {"exp": None},
        {"exp": float(LATER)},
        {"exp": True},
        {"iat": LATER},
        {"iat": str(NOW)},
        {"nbf": LATER},
        {"sub": 7},
        {"jti": 7},
    ],
)
def test_claims_that_need_a_judge_are_handed_on(claims: dict[str, Any]):
    assert plain().claims(token(**claims)) is None


def test_rules_of_issuer_and_audience_hold_in_the_shortcut():
    rules = plain(issuer="us", audience="chat")
    assert rules.claims(token(iss="us", aud="chat")) is not None
    for wrong in ({}, {"iss": "us"}, {"iss": "them", "aud": "chat"}, {"iss": "us", "aud": ["x"]}):
        assert rules.claims(token(**wrong)) is None


def test_leeway_holds_in_the_shortcut():
    now = int(time.time())
    assert plain(leeway_s=30.0).claims(token(exp=now - 10, iat=now + 10)) is not None


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"none"}',
        b'{"alg":"HS512","typ":"JWT"}',
        b'{"alg":"HS256","crit":["b64"]}',
        b'{"alg":"HS256","kid":7}',
        b"{}",
    ],
)
def test_unusual_header_is_handed_on(header: bytes):
    payload = segment(json.dumps({"sub": "alice", "exp": LATER}).encode())
    assert plain().claims(signed(payload, header)) is None


def test_signature_of_another_key_or_in_another_spelling_is_handed_on():
    good = token()
    payload = good.split(".")[1]
    assert plain().claims(signed(payload, key=b"x" * 32)) is None
    for other in (good + "=", good[:-1], good[:-1] + "ü", good.rpartition(".")[0] + "."):
        assert plain().claims(other) is None


@pytest.mark.parametrize("payload", ["", "e30=", "e31", "e!30", "W10", "bm8", "e30.e30"])
def test_payload_that_is_no_object_in_canonical_base64_is_handed_on(payload: str):
    assert plain().claims(signed(payload)) is None


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(NOW - 100_000, NOW + 100_000),
    st.integers(),
    st.floats(allow_nan=False),
    st.sampled_from(["", "us", "chat"]),
    st.text(max_size=5),
    st.lists(st.text(max_size=3), max_size=2),
)
names = st.sampled_from(["sub", "exp", "iat", "nbf", "aud", "iss", "jti", "tenant"])


@given(
    claims=st.dictionaries(names, values),
    issuer=st.sampled_from([None, "", "us"]),
    audience=st.sampled_from([None, "", "chat"]),
)
def test_what_the_shortcut_accepts_pyjwt_accepts_with_the_same_claims(
    claims: dict[str, Any], issuer: str | None, audience: str | None
):
    written = token(**claims)
    found = plain(issuer=issuer, audience=audience).claims(written)
    if found is not None:
        options: Any = {
            "require": ["exp", "sub"],
            "verify_aud": audience is not None,
            "verify_iss": issuer is not None,
        }
        decoded = jwt.decode(
            written, SECRET, ["HS256"], audience=audience, issuer=issuer, options=options
        )
        assert found == decoded
