"""The exception tree.

::

    ImfastError
    ├── StartError            a server that does not start; carries the process's exit code
    │   ├── ConfigError           2  an option has no usable value
    │   ├── PortBusyError         3  an address cannot be listened on
    │   ├── DataDirectoryError    4  the data directory cannot be used
    │   ├── AlreadyRunningError   5  another server uses the data directory
    │   ├── InsecureSecretError   6  the development secret would guard a reachable address
    │   └── WorkerFailedError     7, 8  a worker met what a restart does not cure
    └── RequestError          a client's request that is answered with a code of spec/codes.toml
        ├── TokenInvalidError         token_invalid
        ├── TokenExpiredError         token_expired
        └── OverloadedError           overloaded; says when to try again
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from imfast.codes import Code

__all__ = [
    "AlreadyRunningError",
    "ConfigError",
    "DataDirectoryError",
    "ExitCode",
    "ImfastError",
    "InsecureSecretError",
    "InvalidArgumentError",
    "NotAllowedError",
    "OverloadedError",
    "PortBusyError",
    "RequestError",
    "StartError",
    "StorageFullError",
    "TokenExpiredError",
    "TokenInvalidError",
    "TokenRevokedError",
    "UnsupportedError",
    "WorkerExit",
    "WorkerFailedError",
]


class ExitCode(IntEnum):
    """What `imfast serve` exits with. 128 + n: a second signal n ended it at once."""

    OK = 0
    """Drained and stopped because it was told to."""
    UNEXPECTED = 1
    """A defect: please report it with the trace."""
    USAGE = 2
    """An option or argument is wrong; nothing was touched."""
    PORT_BUSY = 3
    """An address is in use, not ours or not allowed."""
    DATA_DIRECTORY = 4
    """The data directory is unwritable, newer than this program, or laid out differently."""
    ALREADY_RUNNING = 5
    """Another server holds the data directory."""
    INSECURE_SECRET = 6
    """The development secret is exposed: readable by others or used on a reachable address."""
    DATA_DAMAGED = 7
    """A log is damaged where it may not be cut; the message has file, offset and cure."""
    WORKER_FAILED = 8
    """A worker cannot start, for the reason printed before."""


class WorkerExit(IntEnum):
    """What a worker that cannot go on exits with; it is replaced. Outside of what `serve` uses."""

    EXCEPTION = 70
    """An exception in Python code outside of one request or one partition."""
    PANIC = 71
    """A panic of the engine outside of one connection's decoder or one partition's fold."""


class ImfastError(Exception):
    """Base of everything that this package raises on purpose."""


class StartError(ImfastError):
    """The server does not start, or stops, for a reason its operator can cure."""

    exit_code: ExitCode = ExitCode.UNEXPECTED


class ConfigError(StartError):
    """An option has no usable value. The text names option, value, where it came from, range."""

    exit_code = ExitCode.USAGE


class PortBusyError(StartError):
    """An address cannot be listened on."""

    exit_code = ExitCode.PORT_BUSY


class DataDirectoryError(StartError):
    """The data directory cannot be used as it is."""

    exit_code = ExitCode.DATA_DIRECTORY


class AlreadyRunningError(StartError):
    """Another server uses the data directory."""

    exit_code = ExitCode.ALREADY_RUNNING


class InsecureSecretError(StartError):
    """The development secret would guard something that others can reach."""

    exit_code = ExitCode.INSECURE_SECRET


class WorkerFailedError(StartError):
    """A worker stopped for a reason that starting it again does not cure."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.WORKER_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RequestError(ImfastError):
    """A request that is refused, with a code of the catalogue."""

    code: ClassVar[Code]
    retry_after_ms: int = 0
    """When to try again; 0 where nothing is known about that."""


class TokenInvalidError(RequestError):
    """The token is malformed, not signed by us, or not meant for this server."""

    code = Code.TOKEN_INVALID


class TokenExpiredError(RequestError):
    """The token was good and its time is over: a new one helps."""

    code = Code.TOKEN_EXPIRED


class TokenRevokedError(RequestError):
    """The token was good, and somebody called it back."""

    code = Code.TOKEN_REVOKED


class NotAllowedError(RequestError):
    """Whoever asks is known, and may not."""

    code = Code.NOT_ALLOWED


class InvalidArgumentError(RequestError):
    """A field of the request is missing, of the wrong type or out of range."""

    code = Code.INVALID_ARGUMENT


class UnsupportedError(RequestError):
    """There is no such thing here, or this server cannot do it."""

    code = Code.UNSUPPORTED


class StorageFullError(RequestError):
    """The disk took nothing. Nothing was stored."""

    code = Code.STORAGE_FULL


class OverloadedError(RequestError):
    """What the request needs does not answer now. Nothing was done."""

    code = Code.OVERLOADED

    def __init__(self, message: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
