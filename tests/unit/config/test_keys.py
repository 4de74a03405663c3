"""The files that tokens are checked with."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from imfast.config.keys import development_secret_path, ensure_development_secret, token_key
from imfast.config.load import load
from imfast.config.schema import Settings
from imfast.errors import ConfigError, InsecureSecretError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"data_dir": str(tmp_path)}).settings


def test_development_secret_is_made_once_for_its_owner_only(settings: Settings):
    ensure_development_secret(settings)
    first = token_key(settings)
    ensure_development_secret(settings)
    assert token_key(settings) == first
    assert len(first) >= 32
    assert stat.S_IMODE(development_secret_path(settings).stat().st_mode) == 0o600


def test_two_servers_have_different_secrets(tmp_path: Path):
    keys = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        settings = load({"data_dir": str(tmp_path / name)}).settings
        ensure_development_secret(settings)
        keys.add(token_key(settings))
    assert len(keys) == 2


def test_development_secret_that_others_can_read_is_refused(settings: Settings):
    ensure_development_secret(settings)
    development_secret_path(settings).chmod(0o640)
    with pytest.raises(InsecureSecretError, match="mode 0640"):
        ensure_development_secret(settings)


def test_no_development_secret_is_made_beside_an_explicit_one(tmp_path: Path):
    explicit = tmp_path / "explicit"
    explicit.write_bytes(b"s" * 32 + b"\n")
    settings = load({"data_dir": str(tmp_path), "jwt_secret_file": str(explicit)}).settings
    ensure_development_secret(settings)
    assert not development_secret_path(settings).exists()
    assert token_key(settings) == b"s" * 32


def test_missing_development_secret_says_what_makes_it(settings: Settings):
    with pytest.raises(ConfigError, match="the first `imfast serve`"):
        token_key(settings)


def test_short_secret_is_refused(tmp_path: Path):
    short = tmp_path / "short"
    short.write_bytes(b"s" * 31 + b"\n")
    settings = load({"jwt_secret_file": str(short)}).settings
    with pytest.raises(ConfigError, match="the secret has 31 bytes"):
        token_key(settings)


def test_missing_explicit_secret_is_refused(tmp_path: Path):
    settings = load({"jwt_secret_file": str(tmp_path / "nowhere")}).settings
    with pytest.raises(ConfigError, match=r"option jwt_secret_file: .*No such file"):
        token_key(settings)
