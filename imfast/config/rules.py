"""Rules between options, all of them in one function."""

from __future__ import annotations

import os
import re

from imfast.config.affinity import processors
from imfast.config.networks import UNIX
from imfast.config.schema import Settings
from imfast.errors import ConfigError
from imfast.limits import ENVELOPE_BYTES

__all__ = ["check_rules"]

_NODE = re.compile(r"[a-z0-9-]{1,32}")


def check_rules(settings: Settings) -> None:
    """Refuses combinations that cannot work.

    Raises:
        ConfigError: naming the options, their values and the rule.
    """
    if not _NODE.fullmatch(settings.node):
        raise ConfigError(f"option node: {settings.node!r}: 1 to 32 of a-z, 0-9 and -")
    if settings.role != "all":
        raise ConfigError(
            f"option role: {settings.role!r}: needs other nodes to share the work with, which"
            " this version cannot find; only 'all' runs"
        )
    ports = {"port": settings.port, "tcp_port": settings.tcp_port}
    ports["admin_port"] = settings.admin_port
    if settings.tls_cert:
        ports["tls_port"] = settings.tls_port
    for name, port in ports.items():
        for other, other_port in ports.items():
            if name < other and port == other_port != 0:
                raise ConfigError(f"options {name} and {other}: both {port}: must differ")
    _check_sizes(settings)
    _check_affinity(settings)
    _check_keys(settings)
    _check_tls(settings)
    if UNIX in settings.proxy_trusted and settings.unix_path is None:
        raise ConfigError("option proxy_trusted: 'unix': needs unix_path, which is not set")


def _check_sizes(settings: Settings) -> None:
    frame = settings.frame_bytes_max
    if settings.body_bytes_max > frame - ENVELOPE_BYTES.default:
        raise ConfigError(
            f"option body_bytes_max: {settings.body_bytes_max}: at most frame_bytes_max"
            f" ({frame}) less {ENVELOPE_BYTES.default}"
        )
    for name in ("send_queue_bytes", "batch_bytes_max", "inbox_bytes_max", "link_queue_bytes"):
        value = getattr(settings, name)
        if value < 2 * frame:
            raise ConfigError(f"option {name}: {value}: at least twice frame_bytes_max ({frame})")
    if settings.page_items_default > settings.page_items_max:
        raise ConfigError(
            f"option page_items_default: {settings.page_items_default}: at most page_items_max"
            f" ({settings.page_items_max})"
        )
    if settings.connections_max and settings.connections_max < settings.unauthenticated_max:
        raise ConfigError(
            f"option unauthenticated_max: {settings.unauthenticated_max}: at most"
            f" connections_max ({settings.connections_max})"
        )


def _check_affinity(settings: Settings) -> None:
    possible = os.sched_getaffinity(0)
    missing = sorted(set(processors(settings.cpu_affinity)) - possible)
    if missing:
        raise ConfigError(
            f"option cpu_affinity: {settings.cpu_affinity!r}: this process may not use processor"
            f" {missing[0]}, only {','.join(map(str, sorted(possible)))}"
        )


def _check_keys(settings: Settings) -> None:
    algorithm = settings.jwt_algorithm
    if settings.jwt_jwks_file is not None:
        for name in ("jwt_secret_file", "jwt_public_key_file"):
            if (value := getattr(settings, name)) is not None:
                raise ConfigError(
                    f"option {name}: {value}: jwt_jwks_file is set, whose keys are the only ones;"
                    " choose one of the two"
                )
        return
    if algorithm == "HS256":
        if settings.jwt_public_key_file is not None:
            # Accepting a public key as a shared secret is the classic way to forge tokens.
            raise ConfigError(
                f"option jwt_public_key_file: {settings.jwt_public_key_file}: jwt_algorithm is"
                " HS256, which has no public key; choose RS256 or EdDSA"
            )
        return
    if settings.jwt_secret_file is not None:
        raise ConfigError(
            f"option jwt_secret_file: {settings.jwt_secret_file}: jwt_algorithm is {algorithm},"
            " which has no shared secret; choose HS256"
        )
    if settings.jwt_public_key_file is None:
        raise ConfigError(
            f"option jwt_algorithm: {algorithm}: needs jwt_public_key_file, which is not set"
        )


def _check_tls(settings: Settings) -> None:
    certificates = len(settings.tls_cert)
    if len(settings.tls_key) != certificates:
        raise ConfigError(
            f"options tls_cert and tls_key: {certificates} and {len(settings.tls_key)} files: each"
            " certificate has a key, in the same order"
        )
    if settings.tls_ocsp and len(settings.tls_ocsp) != certificates:
        raise ConfigError(
            f"options tls_cert and tls_ocsp: {certificates} and {len(settings.tls_ocsp)} files: one"
            " for each certificate; an empty file staples nothing"
        )
    asked = settings.tls_client_certificates
    if asked != "off" and not certificates:
        raise ConfigError(
            f"option tls_client_certificates: {asked!r}: needs tls_cert, which is not set"
        )
    if asked != "off" and settings.tls_client_ca is None:
        raise ConfigError(
            f"option tls_client_certificates: {asked!r}: needs tls_client_ca, which is not set"
        )
    if settings.tls_client_user != "off" and asked == "off":
        raise ConfigError(
            f"option tls_client_user: {settings.tls_client_user!r}: needs tls_client_certificates,"
            " which is 'off'"
        )
