"""The TLS credentials of a server, from files to what workers are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from imfast.config.load import load
from imfast.config.server_settings import ServerSettings
from imfast.config.tls_credentials import credentials_from_document
from imfast.errors import ConfigError
from imfast.supervisor.tls import TICKET_KEY_BYTES, TICKET_KEYS, TlsKeeper
from tests.support.certificates import Certificates


def keeper(certificates: Certificates) -> TlsKeeper:
    flags = {
        "tls_cert": str(certificates.path("server.pem")),
        "tls_key": str(certificates.path("server.key")),
    }
    return TlsKeeper(ServerSettings.read(load(flags).settings.document()))


def test_workers_are_told_what_the_files_have(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    told = credentials_from_document(keeper(certificates).document())
    [(chain, key, ocsp)] = told["certificates"]
    assert chain == certificates.path("server.pem").read_bytes()
    assert key == certificates.path("server.key").read_bytes()
    assert ocsp == b""
    assert told["ticket_lifetime_s"] == 86_400


def test_a_ticket_is_good_until_its_key_was_replaced_twice(tmp_path: Path) -> None:
    tls = keeper(Certificates(tmp_path))
    seen = []
    for _ in range(TICKET_KEYS + 2):
        keys = credentials_from_document(tls.document())["ticket_keys"]
        assert len(keys[0]) == TICKET_KEY_BYTES
        assert keys[0] not in seen
        assert keys[1:] == seen[: TICKET_KEYS - 1]
        seen.insert(0, keys[0])
        tls.rotate()


def test_files_that_change_are_noticed_and_bad_ones_change_nothing(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    tls = keeper(certificates)
    before = tls.document()
    assert not tls.is_changed()
    certificates.path("server.key").write_bytes(b"half a")
    assert tls.is_changed()
    with pytest.raises(
        ConfigError, match=r"option tls_cert: .*server\.pem, with tls_key .*private"
    ):
        tls.reload()
    assert tls.document() == before
    assert not tls.is_changed(), "it is not tried again and again"
    certificates.renew()
    assert tls.is_changed()
    tls.reload()
    assert tls.document()["certificates"] != before["certificates"]
    assert tls.document()["ticket_keys"] == before["ticket_keys"]
    certificates.path("server.pem").unlink()
    with pytest.raises(ConfigError, match="No such file"):
        tls.reload()
