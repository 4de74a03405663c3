"""Exact receiving: once, in order, gaps filled from history."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imfast.client.models import Expired, Message, Update
from imfast.client.order import Gap, Order, seq_of


def row(seq: int, conversation: str = "g.1") -> Message:
    return Message(conversation, seq, 1000 + seq, "alice", 5, text=str(seq))


def test_first_row_is_the_start_and_repeats_are_dropped() -> None:
    order = Order({})
    assert order.offer(row(5)) == ([row(5)], None)
    assert order.offer(row(5)) == ([], None)
    assert order.offer(row(4)) == ([], None)
    assert order.offer(row(6)) == ([row(6)], None)
    assert order.head("g.1") == 6


def test_conversations_are_numbered_apart() -> None:
    order = Order({"g.1": 1})
    assert order.offer(row(1, "g.2")) == ([row(1, "g.2")], None)
    assert order.offer(row(2)) == ([row(2)], None)


def test_gap_holds_what_follows_until_history_has_answered() -> None:
    order = Order({"g.1": 1})
    assert order.offer(row(4)) == ([], Gap("g.1", 1, 4))
    assert order.offer(row(5)) == ([], None)
    assert order.offer(row(1, "g.2")) == ([row(1, "g.2")], None)
    assert order.filling
    assert order.page("g.1", [row(2), row(3), row(4)]) == [row(2), row(3), row(4)]
    assert order.close("g.1") == ([row(5)], None)
    assert not order.filling


def test_rows_that_history_does_not_have_are_not_ours() -> None:
    order = Order({"g.1": 1})
    order.offer(row(4))
    assert order.page("g.1", [row(3)]) == [row(3)]
    assert order.close("g.1") == ([row(4)], None)


def test_gap_among_the_held_rows_is_the_next_gap() -> None:
    order = Order({"g.1": 1}, held_max=2)
    order.offer(row(3))
    order.offer(row(4))
    order.offer(row(5))  # more than held_max: left out
    order.page("g.1", [row(2)])
    assert order.close("g.1") == ([row(3), row(4)], None)
    assert order.offer(row(6)) == ([], Gap("g.1", 4, 6))
    order.offer(row(9))
    assert order.close("g.1") == ([row(6)], Gap("g.1", 6, 9))
    assert order.filling


def test_expired_rows_are_skipped_as_one_range() -> None:
    order = Order({"g.1": 1})
    expired = Expired("g.1", 2, 6)
    assert order.offer(expired) == ([expired], None)
    assert order.offer(row(6)) == ([], None)
    assert order.offer(row(7)) == ([row(7)], None)


def test_ephemeral_message_passes_even_a_gap() -> None:
    order = Order({"g.1": 1})
    order.offer(row(4))
    typing = Message("g.1", 0, 0, "bob", 5, text="…", ephemeral=True)
    assert order.offer(typing) == ([typing], None)


def test_abandoned_gap_is_brought_again_by_the_next_catch_up() -> None:
    order = Order({"g.1": 1})
    order.offer(row(3))
    order.abandon()
    assert order.offer(row(2)) == ([row(2)], None)
    assert order.offer(row(3)) == ([row(3)], None)


arrivals = st.lists(st.tuples(st.sampled_from(["g.1", "g.2"]), st.integers(1, 30)), max_size=60)


@given(arrivals=arrivals, held_max=st.integers(1, 4), late=st.randoms(use_true_random=False))
def test_any_arrivals_give_every_row_once_and_in_order(
    arrivals: list[tuple[str, int]], held_max: int, late: object
) -> None:
    """Whatever is lost or repeated: from the start to the last row seen there is no hole."""
    import random

    assert isinstance(late, random.Random)
    order = Order({"g.1": 0, "g.2": 0}, held_max=held_max)
    delivered: list[Update] = []
    open_gaps: list[Gap] = []

    def fill(gap: Gap) -> None:
        rows = [row(seq, gap.conversation) for seq in range(gap.after + 1, gap.before)]
        delivered.extend(order.page(gap.conversation, rows))
        deliver, following = order.close(gap.conversation)
        delivered.extend(deliver)
        if following is not None:
            open_gaps.append(following)

    for conversation, seq in arrivals:
        deliver, gap = order.offer(row(seq, conversation))
        delivered.extend(deliver)
        if gap is not None:
            open_gaps.append(gap)
        if open_gaps and late.random() < 0.5:
            fill(open_gaps.pop(0))
    while open_gaps:
        fill(open_gaps.pop(0))

    for conversation in ("g.1", "g.2"):
        seqs = [seq_of(update) for update in delivered if update.conversation == conversation]
        assert seqs == list(range(1, len(seqs) + 1))
