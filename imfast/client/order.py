"""Exact receiving: every row of a conversation once, in seq order.

Sans-IO: `Order` is told what arrived and says what to deliver and what to fetch. The rules:

- the first row of a conversation that this receiver knows nothing of is its start;
- after that only seq = last + 1 is applied; what is not above `last` is a repeat and is dropped;
- a jump ahead is a gap. The row and what follows it are held while history is asked for what is
  between. Rows that history does not have are not ours to see (we had left the conversation), so
  when history has answered the held rows follow;
- ephemeral messages have no seq and pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .models import Expired, Update

__all__ = ["Gap", "Order", "seq_of"]


def seq_of(update: Update) -> int:
    """Return the seq up to which `update` brings its conversation; 0 for an ephemeral message."""
    return update.to_seq if isinstance(update, Expired) else update.seq


@dataclass(frozen=True, slots=True)
class Gap:
    """Rows after `after` and before `before` are missing."""

    conversation: str
    after: int
    before: int


class Order:
    """What has been applied per conversation, and what waits behind a gap."""

    def __init__(self, heads: Mapping[str, int], *, held_max: int = 1024) -> None:
        # Last seq applied per conversation.
        self._heads = dict(heads)
        # Rows behind a gap, in the order of arrival; the key exists while the gap is being filled.
        self._held: dict[str, list[Update]] = {}
        # Rows held per conversation. More are dropped: they make another gap, filled in its turn.
        self._held_max = held_max

    @property
    def filling(self) -> bool:
        """Whether any gap is open: what arrived is then not yet all applied."""
        return bool(self._held)

    def head(self, conversation: str) -> int:
        """Return the last seq applied, 0 if none."""
        return self._heads.get(conversation, 0)

    def offer(self, update: Update) -> tuple[list[Update], Gap | None]:
        """Take a push. Return what to deliver now and the gap to fetch, if one has opened."""
        seq = seq_of(update)
        if seq == 0:
            return [update], None
        held = self._held.get(update.conversation)
        if held is not None:
            if len(held) < self._held_max:
                held.append(update)
            return [], None
        gap = self._gap_before(update)
        if gap is not None:
            self._held[update.conversation] = [update]
            return [], gap
        return self._apply(update), None

    def page(self, conversation: str, items: Iterable[Update]) -> list[Update]:
        """Take rows of history for an open gap. Return what to deliver."""
        assert conversation in self._held, "a page answers an open gap"  # noqa: S101
        return [new for item in items for new in self._apply(item)]

    def close(self, conversation: str) -> tuple[list[Update], Gap | None]:
        """End a gap: history has no more rows before the held ones.

        Return what to deliver, and the next gap if there is one among the held rows.
        """
        held = self._held.pop(conversation)
        deliver: list[Update] = []
        for index, update in enumerate(held):
            gap = self._gap_before(update) if deliver else None
            if gap is not None:
                self._held[conversation] = held[index:]
                return deliver, gap
            deliver += self._apply(update)
        return deliver, None

    def abandon(self) -> None:
        """Forget open gaps: the connection broke, and its catch-up will bring their rows again."""
        self._held.clear()

    def _gap_before(self, update: Update) -> Gap | None:
        last = self._heads.get(update.conversation)
        first = update.from_seq if isinstance(update, Expired) else update.seq
        if last is None or first <= last + 1:
            return None
        return Gap(update.conversation, last, first)

    def _apply(self, update: Update) -> list[Update]:
        seq = seq_of(update)
        if seq <= self._heads.get(update.conversation, 0):
            return []
        self._heads[update.conversation] = seq
        return [update]
