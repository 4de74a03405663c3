"""What a refused request raises."""

from __future__ import annotations

import msgspec

__all__ = ["ServerAPIError", "problem"]


class ServerAPIError(Exception):
    """The server refused a request, or could not be reached."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        code: int = 0,
        status: int = 0,
        retryable: bool = False,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        """The code's name, or `unreachable`."""
        self.code = code
        """Of the catalogue; 0: the server was not reached."""
        self.status = status
        self.retryable = retryable
        """The same request, with the same key, may succeed later."""
        self.retry_after_s = retry_after_s


class _Problem(msgspec.Struct, rename="camel"):
    reason: str = "unknown"
    detail: str = ""
    title: str = ""
    code: int = 0
    retryable: bool = False
    retry_after_ms: int = 0


def problem(status: int, body: bytes) -> ServerAPIError:
    """The error of an answer."""
    try:
        said = msgspec.json.decode(body, type=_Problem)
    except msgspec.MsgspecError:  # of a proxy in between
        said = _Problem(title=body[:200].decode(errors="replace"), retryable=status >= 500)
    return ServerAPIError(
        said.reason,
        said.detail or said.title,
        code=said.code,
        status=status,
        retryable=said.retryable,
        retry_after_s=said.retry_after_ms / 1000,
    )
