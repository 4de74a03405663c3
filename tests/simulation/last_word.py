"""Live means live: single messages at the end, each while a frame between workers is lost.

Nothing follows such a message that would show a gap, so only watermarks and beats can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.oracle import STILL_IN, membership
from tests.simulation.scheduler import MS

if TYPE_CHECKING:
    from tests.simulation.run import Simulation

__all__ = ["say_last_words"]

WORDS = 2
ANSWERED_MS = 15_000
"""By then a send is answered, whatever was lost: the client's own patience is longer."""
LIVE_MS = 2_000
TRANSIT_MS = 60
"""From an owner by way of a slow stream to a client, at the most."""


def say_last_words(simulation: Simulation) -> None:
    """Raises AssertionError where an online client is shown a message too late."""
    scheduler, prediction = simulation.scheduler, simulation.prediction
    for _ in range(WORDS):
        conversations = list(dict.fromkeys(of for of, _ in prediction.rows))
        if not conversations:
            return
        conversation = scheduler.draw.choice(conversations)
        audience = audience_of(simulation, conversation)
        speakers = [device for device in simulation.devices if device.user in audience]
        if not speakers:
            continue
        speaker = scheduler.draw.choice(speakers)
        before = {device: len(device.sessions) for device in simulation.devices}
        sent = simulation.say(speaker, conversation)
        # The first frame of some link, in some direction, from some moment on.
        scheduler.after_ms(
            scheduler.draw.random() * 3,
            simulation.trouble.lose_next_frame,
            scheduler.draw.randrange(1000),
            scheduler.draw.randrange(2),
            100,
        )
        limit_ns = scheduler.now_ns + ANSWERED_MS * MS
        scheduler.run_until(limit_ns, lambda s=sent: s.outcome is not None)
        assert sent.outcome is not None, f"{sent.key} was not answered in {ANSWERED_MS} ms"
        assert sent.outcome.body is not None, f"{sent.key} of a member got {sent.outcome.error}"
        seq = sent.outcome.body["seq"]
        scheduler.run_until(scheduler.now_ns + (LIVE_MS + TRANSIT_MS) * MS)
        for device in simulation.devices:
            online = device.caught_up and len(device.sessions) == before[device]
            if online and device.user in audience:
                assert seq in device.view.get(conversation, ()), (
                    f"{device} was not shown {seq} of {conversation} {LIVE_MS} ms after its sent"
                )


def audience_of(simulation: Simulation, conversation: str) -> set[str]:
    """Users who are in a conversation, as the rows of all views tell."""
    rows = {seq: row for (of, seq), row in simulation.prediction.rows.items() if of == conversation}
    if conversation.startswith("d."):
        users = {sent.user for sent in simulation.prediction.sends.values()
                 if sent.conversation == conversation}  # fmt: skip
        to = {sent.to.get("user") for sent in simulation.prediction.sends.values()
              if sent.conversation == conversation}  # fmt: skip
        return {user for user in users | to if user}
    stays = membership(conversation, rows)
    return {user for user, own in stays.items() if own and own[-1][1] == STILL_IN}
