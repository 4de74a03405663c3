"""One request of a backend, as its handler sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
import orjson

from imfast.access.api_keys import ApiKey
from imfast.access.revocations import Change, Revocations
from imfast.definitions.fields import Wire
from imfast.errors import InvalidArgumentError, RequestError
from imfast.gateway.access import SYSTEM
from imfast.gateway.acts import Acts, Done

__all__ = ["ActFailedError", "Call", "Node", "Setting", "decoded"]

Answer = TypeVar("Answer", bound=Wire)
Content = TypeVar("Content")


class Node(Protocol):
    """The other workers of the server, and what all of them share."""

    async def ask(self, question: dict[str, Any]) -> list[Any]:
        """What every worker answers, this one included."""

    async def change(self, change: Change) -> None:
        """Returns when a change of the revocations is durable and every worker heeds it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What handlers need of the worker."""

    acts: Acts
    node: Node
    revocations: Revocations
    sign: Callable[[str, str, float], str] | None
    """A token for (user, tenant, seconds); None: only the issuer makes them."""
    page_items_max: int


class ActFailedError(RequestError):
    """The engine refused what was asked of it."""

    def __init__(self, done: Done) -> None:
        super().__init__(done.content.decode(errors="replace"))
        if done.code is not None:
            self.code = done.code  # type: ignore[misc]
        self.retry_after_ms = done.retry_after_ms


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, with what."""

    setting: Setting
    key: ApiKey
    body: bytes
    idempotency_key: str

    @property
    def tenant(self) -> str:
        """Whose users and conversations this is about."""
        return self.key.tenant

    def begin(self, user: str | None, verb: str, body: bytes) -> Awaitable[Done]:
        """Carries out a verb as a user, or as the system."""
        acts = self.setting.acts
        if user is None:
            return acts.begin(self.tenant, SYSTEM, verb, body, by_server=True)
        return acts.begin(self.tenant, user, verb, body)

    async def do(self, user: str | None, verb: str, fields: dict[str, Any]) -> bytes:
        """The same with fields that are not there left out; returns the answer.

        Raises:
            RequestError: it was refused.
        """
        present = {name: value for name, value in fields.items() if value is not msgspec.UNSET}
        return checked(await self.begin(user, verb, orjson.dumps(present)))

    def keyed(self, key: str | msgspec.UnsetType) -> str | msgspec.UnsetType:
        """The key of the body or else of the header.

        Raises:
            InvalidArgumentError: both are there and differ.
        """
        header = self.idempotency_key
        if not header:
            return key
        if key and key != header:
            raise InvalidArgumentError("Idempotency-Key and key differ")
        return header


def checked(done: Done) -> bytes:
    """The answer of an act.

    Raises:
        RequestError: it was refused.
    """
    if done.code is not None:
        raise ActFailedError(done)
    return done.content


def decoded(body: bytes, kind: type[Content]) -> Content:
    """A request's body as its type.

    Raises:
        InvalidArgumentError: it is something else; the text says where.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise InvalidArgumentError(str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgumentError(f"the body is no JSON: {error}") from None
    except UnicodeDecodeError:
        raise InvalidArgumentError("the body is no UTF-8") from None
