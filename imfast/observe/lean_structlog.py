"""Loads structlog without rich, before anything else loads it with rich.

structlog makes coloured traces with rich where that can be imported. Ours are plain text, and rich
is a third of what a worker would load. Whoever needs rich for itself can import it afterwards.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import cast

__all__ = ["structlog"]

_alone = "structlog" not in sys.modules and "rich" not in sys.modules
if _alone:
    # What None means there is the import system's: "not found", from now on.
    cast("dict[str, ModuleType | None]", sys.modules)["rich"] = None
try:
    import structlog
finally:
    if _alone:
        del sys.modules["rich"]
