"""What can go wrong, as exceptions.

::

    IMFastError                the server refused a request (code 1xxx-5xxx)
    ├ RequestError             1xxx  the request is malformed or unsupported
    ├ NotAllowedError          2xxx  not authenticated, not a member, not permitted
    ├ ConflictError            3xxx  for example: a key was reused with another payload
    ├ LimitError               4xxx  too many or too large; see retry_after
    └ ServerError              5xxx  the server's fault
    ConnectionClosedError      the connection is gone and the client will not reconnect
    └ KickedError              the server said so, with a reason
    OutcomeUnknownError        no answer before the deadline: retry with the same key
    ProtocolError              the server sent something that is not our protocol
"""

from __future__ import annotations

__all__ = [
    "ConflictError",
    "ConnectionClosedError",
    "IMFastError",
    "KickedError",
    "LimitError",
    "NotAllowedError",
    "OutcomeUnknownError",
    "ProtocolError",
    "RequestError",
    "ServerError",
    "error_from_code",
]


class IMFastError(Exception):
    """An error answer of the server.

    ``code`` and ``name`` are those of the catalogue; ``retryable`` says whether the same request
    may succeed later; ``retry_after`` is the server's wish in seconds, 0 when it has none.
    """

    def __init__(
        self,
        code: int,
        name: str,
        message: str = "",
        *,
        retryable: bool = False,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(code, name, message)
        self.code = code
        self.name = name
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.code} {self.name}" + (f": {self.message}" if self.message else "")


class RequestError(IMFastError):
    """1xxx: the request itself is wrong."""


class NotAllowedError(IMFastError):
    """2xxx: this user may not do that, or is not who the token says."""


class ConflictError(IMFastError):
    """3xxx: the request contradicts something already done."""


class LimitError(IMFastError):
    """4xxx: a limit was reached."""


class ServerError(IMFastError):
    """5xxx: the server could not do it."""


class ConnectionClosedError(Exception):
    """The client is closed and will not reconnect. ``code`` is the WebSocket close code, if any."""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class KickedError(ConnectionClosedError):
    """The server ended the session for good."""


class OutcomeUnknownError(TimeoutError):
    """No answer came before the deadline: the request took effect once or not at all.

    Repeating it with the same ``key`` returns the first result if there was one.
    ``key`` is None for requests that have none.
    """

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class ProtocolError(Exception):
    """The bytes received are not the imfast protocol."""


_BY_THOUSAND: dict[int, type[IMFastError]] = {
    1: RequestError,
    2: NotAllowedError,
    3: ConflictError,
    4: LimitError,
    5: ServerError,
}


def error_from_code(
    code: int, name: str, message: str = "", *, retryable: bool = False, retry_after: float = 0.0
) -> IMFastError:
    """Make the exception whose class matches the code's thousands."""
    kind = _BY_THOUSAND.get(code // 1000, IMFastError)
    return kind(code, name, message, retryable=retryable, retry_after=retry_after)
