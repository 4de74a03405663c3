"""What a consumer gets: one committed message or event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imfast.client.codec import JsonCodec
from imfast.client.models import Event, Message

__all__ = ["Effect"]

_CODEC = JsonCodec()


@dataclass(frozen=True, slots=True)
class Effect:
    """A committed message or event, with what makes handling it twice harmless: its `id`."""

    id: str
    """The same in every attempt, after every crash and in every restored backup; unique over all
    partitions. It is the message's or event's id."""
    partition: int
    index: int
    """Its place in the partition's log."""
    tenant: str
    direct: tuple[str, ...]
    """Both users of a direct conversation; empty for a group."""
    row: Message | Event
    """What was committed, as clients get it."""

    @property
    def conversation(self) -> str:
        """Effects of one conversation come in the order of their `seq`."""
        return self.row.conversation

    @property
    def seq(self) -> int:
        """Its number in the conversation."""
        return self.row.seq

    @property
    def scope(self) -> str:
        """The conversation among those of all tenants."""
        return f"{self.tenant}/{self.row.conversation}"

    @classmethod
    def read(cls, line: bytes) -> Effect:
        """Reads one effect as the partition's owner writes it.

        Raises:
            ValueError: it is none.
        """
        try:
            [frame] = _CODEC.decode(line)
            partition, _, index = frame["position"].partition("-")
            return cls(
                partition=int(partition),
                index=int(index),
                tenant=frame["tenant"],
                direct=tuple(frame.get("direct", ())),
                **_row(frame),
            )
        except (KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"not an effect ({error!r}): {line[:200]!r}") from None


def _row(frame: dict[str, Any]) -> dict[str, Any]:
    row: Message | Event
    if "message" in frame:
        row = Message.from_wire(frame["message"])
    else:
        row = Event.from_wire(frame["event"])
    return {"id": str(row.message_id), "row": row}
