"""Keys from a set: which one a token names, and sets that change."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from imfast.errors import ConfigError, TokenInvalidError
from imfast.gateway.authenticate import Authenticator
from imfast.gateway.jwks import LOOK_S, KeySet

RSA = rsa.generate_private_key(65537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()
EC = ec.generate_private_key(ec.SECP256R1())


def public(kid: str, **fields: Any) -> dict[str, Any]:
    kinds: dict[str, Any] = {
        "rsa": lambda: RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True),
        "ed": lambda: OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True),
        "ec": lambda: ECAlgorithm.to_jwk(EC.public_key(), as_dict=True),
    }
    return {**kinds[kid](), "kid": kid, **fields}


def write(path: Path, *keys: dict[str, Any]) -> None:
    """As issuers do: the new file in the place of the old one."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"keys": keys}))
    new.replace(path)


def token(key: Any, algorithm: str, **headers: Any) -> str:
    claims = {"sub": "alice", "exp": int(time.time()) + 60}
    return jwt.encode(claims, key, algorithm, headers=headers)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def authenticator(path: Path, clock: Clock) -> Authenticator:
    return Authenticator(algorithm="HS256", key=b"", key_set=KeySet(path, clock))


@pytest.mark.parametrize(
    ("kid", "key", "algorithm"), [("rsa", RSA, "RS256"), ("ed", ED, "EdDSA"), ("ec", EC, "ES256")]
)
def test_token_is_checked_with_the_key_it_names(
    tmp_path: Path, kid: str, key: Any, algorithm: str
) -> None:
    path = tmp_path / "jwks.json"
    write(path, public("rsa"), public("ed"), public("ec"))
    check = authenticator(path, Clock())
    assert check.verify(token(key, algorithm, kid=kid)).user == "alice"
    for header in ({"kid": "none"}, {}, {"kid": "rsa" if kid != "rsa" else "ed"}):
        with pytest.raises(TokenInvalidError):
            check.verify(token(key, algorithm, **header))


def test_algorithm_is_the_keys_and_not_the_tokens(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    write(path, public("rsa"))
    check = authenticator(path, Clock())
    assert check.verify(token(RSA, "RS256")).user == "alice"
    with pytest.raises(TokenInvalidError):
        check.verify(token(RSA, "RS512", kid="rsa"))
    with pytest.raises(TokenInvalidError):
        check.verify(token("n" * 64, "HS256", kid="rsa"))


def test_set_that_changes_is_read_again_and_a_broken_one_is_not(tmp_path: Path) -> None:
    path, clock = tmp_path / "jwks.json", Clock()
    write(path, public("rsa"))
    check = authenticator(path, clock)
    new = token(ED, "EdDSA", kid="ed")
    with pytest.raises(TokenInvalidError):
        check.verify(new)
    write(path, public("ed"), public("rsa"))
    clock.now += LOOK_S
    assert check.verify(new).user == "alice"
    for broken in ('{"keys": []}', "[]", "{", '{"keys":[{"kty":"RSA","n":"?"}]}', '{"keys":[1]}'):
        path.write_text(broken)
        clock.now += LOOK_S
        assert check.verify(new).user == "alice", broken
    path.unlink()
    clock.now += LOOK_S
    assert check.verify(new).user == "alice"
    write(path, public("rsa"))
    clock.now += LOOK_S
    with pytest.raises(TokenInvalidError):
        check.verify(new)


def test_set_without_a_usable_key_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    with pytest.raises(ConfigError, match="jwt_jwks_file"):
        KeySet(path)
    secret = {"kty": "oct", "kid": "s", "k": "c2VjcmV0"}
    for keys in ([], [secret], [public("rsa", use="enc")], [public("rsa", alg="RS512")]):
        write(path, *keys)
        with pytest.raises(ConfigError, match="RS256, ES256 or EdDSA"):
            KeySet(path)
