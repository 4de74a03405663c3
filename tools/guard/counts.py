"""What was counted, of which sources, with which tools."""

from __future__ import annotations

import json
from dataclasses import dataclass

__all__ = ["Counts"]


@dataclass(frozen=True)
class Counts:
    """Instructions of each function."""

    sources: str
    """Fingerprint of the sources that were built; see `Repository.fingerprint`."""
    toolchain: dict[str, str]
    """Compilers, libraries and processor: counts of different ones cannot be compared."""
    functions: dict[str, float]
    """Function → instructions per operation, in user space."""

    def to_json(self) -> str:
        """As it is stored in the repository."""
        functions = {name: round(self.functions[name], 2) for name in sorted(self.functions)}
        document = {"sources": self.sources, "toolchain": self.toolchain, "functions": functions}
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Counts:
        """Reads what `to_json` wrote."""
        return cls(**json.loads(text))
