"""What the supervisor tells a consumer's process at its start, as JSON on its standard input.

The process is ``python -P -m imfast.outbox``. The end of its standard input, SIGTERM and the
supervisor's death end it; it exits with 0 when it was told to and had finished its call.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

__all__ = ["ConsumerDocument"]


@dataclass(frozen=True, slots=True)
class ConsumerDocument:
    """Everything that a consumer's process knows when it starts."""

    name: str
    module: str
    function: str
    server: str
    """Bound to its log lines: ``n1.push``."""
    data_dir: Path
    supervisor_pid: int
    generation: int
    """The layout's: positions of another one mean nothing."""
    feeds: tuple[str, ...]
    """Element p is the socket that serves partition p."""
    log_level: str
    log_format: str
    batch_effects: int
    call_timeout_s: float
    backoff_s: float
    backoff_max_s: float
    attempts_max: int
    expiry_s: float
    waiting_max: int

    def encode(self) -> bytes:
        """The document as JSON."""
        return orjson.dumps({**asdict(self), "data_dir": str(self.data_dir)})

    @classmethod
    def decode(cls, text: bytes) -> ConsumerDocument:
        """Reads what `encode` wrote. Both sides are of one version: a mistake here is ours."""
        fields: dict[str, Any] = orjson.loads(text)
        fields["data_dir"] = Path(fields["data_dir"])
        fields["feeds"] = tuple(fields["feeds"])
        return cls(**fields)
