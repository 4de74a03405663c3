"""One-use tickets in a directory that workers share."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from imfast.errors import OverloadedError, StorageFullError, TokenInvalidError
from imfast.gateway import tickets as module
from imfast.gateway.tickets import TICKET_S, Tickets


def test_ticket_is_taken_once_by_any_worker(tmp_path: Path) -> None:
    here, there = Tickets(tmp_path / "t"), Tickets(tmp_path / "t")
    ticket = here.issue("alice", "default", 17)
    identity = there.redeem(ticket)
    assert (identity.user, identity.tenant, identity.expires_at_ms) == ("alice", "default", 17)
    for tickets in (here, there):
        with pytest.raises(TokenInvalidError):
            tickets.redeem(ticket)


@pytest.mark.parametrize("ticket", ["", "x", "../t", "\udcff", "\0", "a" * 5000])
def test_what_is_no_ticket_is_refused(tmp_path: Path, ticket: str) -> None:
    with pytest.raises(TokenInvalidError):
        Tickets(tmp_path / "t").redeem(ticket)


def test_ticket_is_worth_nothing_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets = Tickets(tmp_path / "t")
    old = tickets.issue("alice", "default", 0)
    later = time.time() + TICKET_S
    monkeypatch.setattr(module.time, "time", lambda: later)
    with pytest.raises(TokenInvalidError, match="too old"):
        tickets.redeem(old)


def test_tickets_that_nobody_used_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "t"
    tickets = Tickets(directory)
    for _ in range(5):
        tickets.issue("alice", "default", 0)
    left = directory / "of a worker that died"
    left.touch()
    os.utime(left, (0, 0))
    later = time.time() + TICKET_S
    monkeypatch.setattr(module.time, "time", lambda: later)
    tickets.issue("alice", "default", 0)
    Tickets(directory).issue("bob", "default", 0)
    assert len(list(directory.iterdir())) == 2
    assert not left.exists()


def test_tickets_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTSTANDING_MAX", 3)
    tickets = Tickets(tmp_path / "t")
    for _ in range(3):
        tickets.issue("alice", "default", 0)
    with pytest.raises(OverloadedError):
        tickets.issue("alice", "default", 0)


def test_ticket_that_cannot_be_written_is_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFullError):
        Tickets(tmp_path / "file" / "t").issue("alice", "default", 0)
