"""Names that clients choose, checked once at the border and then trusted."""

from __future__ import annotations

import re
from typing import NewType

from imfast.limits import ID_BYTES

__all__ = ["DEFAULT_TENANT", "TenantId", "UserId", "is_identifier"]

UserId = NewType("UserId", str)
TenantId = NewType("TenantId", str)

DEFAULT_TENANT = TenantId("default")
"""The tenant of a token that names none."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def is_identifier(value: object) -> bool:
    """Whether `value` may be a user, group, device or tenant id.

    1 to 128 bytes of UTF-8 without control characters (C0, DEL, C1).
    """
    if not isinstance(value, str) or not value:
        return False
    try:
        encoded = value.encode()
    except UnicodeEncodeError:  # a lone surrogate: no UTF-8 stands for it
        return False
    if len(encoded) > ID_BYTES.default:
        return False
    return _CONTROL.search(value) is None
