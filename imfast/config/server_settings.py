"""The options that the supervisor uses, as the schema has checked them.

What checks them takes longer to load than all that the supervisor needs; see imfast.cli.remembered.
The schema has units and meanings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from imfast.config.affinity import cores

__all__ = ["ServerSettings"]

_PATHS = (
    "data_dir",
    "ready_file",
    "unix_path",
    "tls_client_ca",
    "jwt_secret_file",
    "jwt_public_key_file",
    "jwt_jwks_file",
)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Each field but `options` is the option of the same name in imfast.config.schema."""

    options: Mapping[str, Any]
    """All of them, as `Settings.document` writes them, for a worker's document."""

    host: str
    port: int
    tcp_port: int
    unix_path: Path | None
    unix_mode: Literal["600", "660", "666"]
    admin_port: int
    accept_backlog: int
    socket_unsent_bytes: int

    node: str
    workers: int | None
    spare_workers: int
    partitions: int | None
    data_dir: Path
    durability: Literal["fsync", "os"]
    ready_file: Path | None
    drain_s: float
    log_level: str
    log_format: str

    tls_cert: tuple[Path, ...]
    tls_key: tuple[Path, ...]
    tls_ocsp: tuple[Path, ...]
    tls_port: int
    tls_client_certificates: Literal["off", "optional", "required"]
    tls_client_ca: Path | None
    tls_ticket_s: float

    connections_max: int | None
    unauthenticated_max: int
    route_buckets: int | None

    after_commit: tuple[str, ...]
    outbox_batch_effects: int
    outbox_call_timeout_s: float
    outbox_backoff_s: float
    outbox_backoff_max_s: float
    outbox_attempts_max: int
    outbox_expiry_s: float
    outbox_waiting_max: int

    jwt_algorithm: Literal["HS256", "RS256", "EdDSA"]
    jwt_secret_file: Path | None
    jwt_public_key_file: Path | None
    jwt_jwks_file: Path | None
    jwt_issuer: str | None
    jwt_audience: str | None

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> ServerSettings:
        """Takes what it needs of all options as JSON values, as `Settings.document` writes them.

        Raises:
            KeyError: one is missing.
        """
        values = {field.name: options[field.name] for field in fields(cls)[1:]}
        for name in _PATHS:
            values[name] = None if values[name] is None else Path(values[name])
        for name in ("tls_cert", "tls_key", "tls_ocsp"):
            values[name] = tuple(map(Path, values[name]))
        values["after_commit"] = tuple(values["after_commit"])
        return cls(options=options, **values)

    @property
    def worker_count(self) -> int:
        """Processes to run."""
        return self.workers if self.workers is not None else cores()

    def resolved(self, **numbers: int | None) -> ServerSettings:
        """With options that are known only now."""
        return replace(self, **numbers, options={**self.options, **numbers})  # type: ignore[arg-type]
