"""The final word: what clients were shown, told and can read, against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from tests.simulation.device import Device
from tests.simulation.prediction import Prediction, Row

__all__ = ["check_all"]

Interval = tuple[int, int]
STILL_IN = 1 << 62


def check_all(prediction: Prediction, devices: Iterable[Device]) -> None:
    """`prediction` knows the whole histories by now; raises AssertionError."""
    conversations: dict[str, dict[int, Row]] = defaultdict(dict)
    for (conversation, seq), row in prediction.rows.items():
        conversations[conversation][seq] = row
    stays: dict[str, dict[str, list[Interval]]] = {}
    for conversation, rows in conversations.items():
        check_numbering(conversation, rows)
        stays[conversation] = membership(conversation, rows)
    check_sends(prediction)
    check_unread(prediction, conversations)
    check_refusals(prediction, stays)
    for device in devices:
        check_view(device, conversations, stays)


def check_numbering(conversation: str, rows: dict[int, Row]) -> None:
    """1, 2, 3 …, and ids that grow with them."""
    seqs = sorted(rows)
    missing = sorted(set(range(1, seqs[-1] + 1)) - set(seqs))
    assert not missing, f"{conversation} ends at {seqs[-1]} and lacks {missing}"
    ids = [int(rows[seq].message_id) for seq in seqs]
    assert all(a < b for a, b in pairwise(ids)), f"{conversation}: ids {ids}"


def membership(conversation: str, rows: dict[int, Row]) -> dict[str, list[Interval]]:
    """By user: the stays as [first seq, seq behind the last), as the events tell them."""
    stays: dict[str, list[Interval]] = defaultdict(list)
    if conversation.startswith("d."):
        return stays
    for seq in sorted(rows):
        row = rows[seq]
        if row.kind != "event":
            continue
        change, *users = row.content.split()
        for user in dict.fromkeys([row.author, *users] if change == "created" else users):
            inside = bool(stays[user]) and stays[user][-1][1] == STILL_IN
            if change in ("created", "joined"):
                assert not inside, f"{conversation}: {user} joined twice, again at {seq}"
                stays[user].append((seq, STILL_IN))
            else:
                assert inside, f"{conversation}: {user} left at {seq} without being in"
                stays[user][-1] = (stays[user][-1][0], seq + 1)
    return stays


def check_sends(prediction: Prediction) -> None:
    """What was acknowledged can be read, under its number; what is there, somebody sent."""
    by_text = {sent.text: sent for sent in prediction.sends.values()}
    for (conversation, seq), row in prediction.rows.items():
        if row.kind != "message":
            continue
        sent = by_text.get(row.content)
        assert sent is not None, f"nobody sent {row.content!r}, at {conversation} {seq}"
        assert (sent.user, sent.conversation) == (row.author, conversation), (
            f"{sent.key} of {sent.user} stands in {conversation} as {row.author}'s"
        )
        outcome = sent.outcome
        # A repetition may be refused and the copy before it arrive later, when that is allowed.
        assert outcome is None or outcome.body is not None or sent.copies > 1, (
            f"{sent.key} was refused with {outcome.error} and is there"
        )


def check_refusals(prediction: Prediction, stays: dict[str, dict[str, list[Interval]]]) -> None:
    """Who has been a member since before asking is not told otherwise."""
    for sent in prediction.sends.values():
        if sent.outcome is None or sent.outcome.body is not None:
            continue
        error = sent.outcome.error
        if error == "key_expired" and prediction.keys_expire:
            continue
        assert error == "not_a_member", f"{sent.key} got {error}"
        own = stays.get(sent.conversation, {}).get(sent.user, [])
        never_left = len(own) == 1 and own[0][1] == STILL_IN
        assert not (never_left and sent.joined_before), (
            f"{sent.key} was refused, and {sent.user} never left {sent.conversation}"
        )


def check_unread(prediction: Prediction, conversations: dict[str, dict[int, Row]]) -> None:
    """A list counts the messages behind what its user read or last sent, and he read no more than
    he said."""
    for user, summaries in prediction.summaries.items():
        for one in summaries:
            conversation, read = one["conversation"], one["readSeq"]
            said = prediction.cursors.get((user, conversation, "read"), 0)
            assert read <= said, f"{user} read {read} of {conversation} and said {said}"
            rows = conversations[conversation]
            own = [seq for seq, row in rows.items() if (row.kind, row.author) == ("message", user)]
            seen = max(read, one["joinedSeq"] - 1, *own, 0)
            unread = [seq for seq, row in rows.items() if seq > seen and row.kind == "message"]
            assert one["unread"] == len(unread), (
                f"{user} has {one['unread']} unread of {conversation}, not {unread} behind {seen}"
            )


def check_view(
    device: Device,
    conversations: dict[str, dict[int, Row]],
    stays: dict[str, dict[str, list[Interval]]],
) -> None:
    """A device was pushed what its user may see: all of it, and nothing else."""
    for conversation, rows in conversations.items():
        if conversation.startswith("d."):
            members = {row.author for row in rows.values()}
            own = [(1, STILL_IN)] if device.user in members or conversation in device.view else []
        else:
            own = stays[conversation].get(device.user, [])
        allowed = {seq for seq in rows if any(first <= seq < end for first, end in own)}
        shown = set(device.view.get(conversation, ()))
        assert shown <= allowed, (
            f"{device} was shown {sorted(shown - allowed)} of {conversation} in {own}"
        )
        missed = allowed - shown
        assert not missed, (
            f"{device} was not shown {sorted(missed)} of {conversation}, which ends at {max(rows)}"
        )
        for number, session in enumerate(device.sessions):
            for of, before, after in session.gaps:
                lacking = [seq for seq in range(before + 1, after) if seq in allowed]
                assert of != conversation or not lacking, (
                    f"{device} was pushed seq {after} of {of} after {before} in session {number}"
                )
