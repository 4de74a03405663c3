"""The file of keys: what is in it, who finds what, and until when."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from imfast.access.api_keys import SCOPES, KeyFile, KeyRing


def test_key_is_found_by_its_text_and_the_file_has_only_its_hash(tmp_path: Path) -> None:
    key, text = KeyFile(tmp_path).create("shop", ["stats", "send", "send"], tenant="acme")
    assert (key.scopes, key.tenant, key.name) == (("send", "stats"), "acme", "shop")
    ring = KeyRing(tmp_path)
    assert ring.find(text) == key
    assert text.rpartition(".")[2] not in (tmp_path / "api-keys.json").read_text()
    assert (tmp_path / "api-keys.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("change", ["", "x", "imk.", "imk..", "imk.{id}.", "imk.{id}.\ud800", "{}"])
def test_anything_else_is_no_key(tmp_path: Path, change: str) -> None:
    key, text = KeyFile(tmp_path).create("shop", ["send"])
    ring = KeyRing(tmp_path)
    assert ring.find(change.replace("{id}", key.id)) is None
    assert ring.find(text[:-1]) is None
    assert ring.find(text + "x") is None
    assert ring.find(text.replace(key.id, "0" * 12)) is None


def test_ring_without_a_file_finds_nothing_and_a_new_one_at_once(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    assert ring.find("imk.a.b") is None
    keys = KeyFile(tmp_path)
    first, text = keys.create("a", ["send"])
    assert ring.find(text) == first
    second, new_text = keys.rotate(first.id, grace_s=3600)
    assert ring.find(new_text) == second
    found = ring.find(text)
    assert found is not None
    assert found.expires_ms > 0
    keys.revoke(first.id)
    assert ring.find(text) is None
    assert ring.find(new_text) == second
    (tmp_path / "api-keys.json").unlink()
    assert ring.find(new_text) is None


def test_expired_key_is_none_and_is_forgotten(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    _, text = keys.create("a", ["send"], ttl_s=0)
    assert KeyRing(tmp_path).find(text) is None
    keys.create("b", ["send"])
    assert [key.name for key in keys.all()] == ["b"]


def test_rotation_does_not_make_a_key_last_longer(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    first, _ = keys.create("a", ["send"], ttl_s=60)
    keys.rotate(first.id, grace_s=3600)
    [old] = [key for key in keys.all() if key.id == first.id]
    assert old.expires_ms == first.expires_ms


def test_scope_that_there_is_not_makes_no_key(tmp_path: Path) -> None:
    for scopes in (["root"], []):
        with pytest.raises(ValueError, match="scope"):
            KeyFile(tmp_path).create("a", scopes)
    with pytest.raises(KeyError):
        KeyFile(tmp_path).revoke("nobody")
    with pytest.raises(KeyError):
        KeyFile(tmp_path).rotate("nobody", grace_s=1)


def test_keys_made_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    def make() -> None:
        for _ in range(5):
            KeyFile(tmp_path).create("a", SCOPES)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(KeyFile(tmp_path).all()) == 20
