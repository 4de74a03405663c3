"""Questions to all workers: who is asked, whose answers count, what is written before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imfast.access.revocations import Revocations
from imfast.supervisor import relay
from imfast.supervisor.relay import Relay
from imfast.supervisor.slot import Slot
from tests.support.deadline import until


class Control:
    """Remembers what a worker was told."""

    def __init__(self) -> None:
        self.questions: list[tuple[int, dict[str, Any]]] = []
        self.answers: list[tuple[int, dict[str, Any]]] = []

    def asked(self, number: int, question: dict[str, Any]) -> None:
        self.questions.append((number, question))

    def answered(self, number: int, answer: dict[str, Any]) -> None:
        self.answers.append((number, answer))


class Process:
    def __init__(self) -> None:
        self.control = Control()


def slots(*states: str) -> tuple[list[Slot], list[Any]]:
    processes: list[Any] = [Process() if state != "waiting" else None for state in states]
    made = [
        Slot(index, f"n1.w{index}", (), state=state, process=process)  # type: ignore[arg-type]
        for index, (state, process) in enumerate(zip(states, processes, strict=True))
    ]
    return made, processes


async def test_answers_of_the_ready_come_together_and_those_that_start_are_told_too(
    tmp_path: Path,
) -> None:
    made, processes = slots("ready", "ready", "starting", "waiting")
    asking = Relay(made, Revocations(tmp_path))
    asking.asked(processes[0], 7, {"change": {"credential": 5}})
    await until(lambda: processes[2].control.questions, "the question")
    assert 5 in Revocations(tmp_path)._tokens
    for process in processes[:2]:
        [(number, question)] = process.control.questions
        assert question == {"change": {"credential": 5}}
        asking.told(number, process is processes[1])
    await until(lambda: processes[0].control.answers, "the answers")
    [(number, answer)] = processes[0].control.answers
    assert (number, sorted(answer["answers"])) == (7, [False, True])
    assert (answer["missing"], answer["failed"]) == (0, "")


async def test_worker_that_does_not_answer_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PATIENCE_S", 0.05)
    made, processes = slots("ready", "ready")
    asking = Relay(made, Revocations(tmp_path))
    asking.asked(processes[0], 1, {"stats": True})
    await until(lambda: processes[0].control.questions, "the question")
    [(number, _)] = processes[0].control.questions
    asking.told(number, {"a": 1})
    await until(lambda: processes[0].control.answers, "the answer")
    [(_, answer)] = processes[0].control.answers
    assert answer == {"answers": [{"a": 1}], "missing": 1, "failed": ""}
    [(late, _)] = processes[1].control.questions
    asking.told(late, {"a": 2})


async def test_change_that_cannot_be_written_is_told_as_failed(tmp_path: Path) -> None:
    made, processes = slots("ready")
    directory = tmp_path / "gone"
    asking = Relay(made, Revocations(directory))
    asking.asked(processes[0], 1, {"change": {"credential": 5}})
    await until(lambda: processes[0].control.questions, "the question")
    asking.told(processes[0].control.questions[0][0], True)
    await until(lambda: processes[0].control.answers, "the answer")
    assert processes[0].control.answers[0][1]["failed"]
