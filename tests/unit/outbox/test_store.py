"""What a reader keeps on disk."""

from __future__ import annotations

import sqlite3
import stat
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imfast.errors import DataDirectoryError
from imfast.outbox.store import Letter, Store, store_path, stores_of

NOW = 5_000


def letter(position: int, conversation: str = "default/d.x", **changes: object) -> Letter:
    made = Letter(str(position), 0, position, conversation, b"{}", False, 0, 1_000, 1_000, "")
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store_path(tmp_path, "notes")


def test_position_and_letters_are_there_again(path: Path) -> None:
    with Store(path, create=True) as store:
        assert store.positions() == {}
        store.finish(0, 9, [letter(8)])
        store.finish(3, 4, [])
        store.set_fact("generation", 2)
        store.make_durable()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stores_of(path.parents[1]) == {"notes": path}
    with Store(path, create=False) as store:
        assert store.positions() == {0: 9, 3: 4}
        assert store.letters(dead=False, limit=9) == [letter(8)]
        assert store.fact("generation") == 2
        store.set_position(0, 5)
        assert store.positions() == {0: 5, 3: 4}


def test_only_the_first_letter_of_a_conversation_is_due(path: Path) -> None:
    with Store(path, create=True) as store:
        first = letter(1, due_ms=9_000)
        other = letter(3, "default/d.y")
        store.finish(0, 4, [first, letter(2), other])
        assert store.due(NOW, 9) == [other], "the second waits for the first"
        assert store.due(9_000, 9) == [other, first]
        assert store.is_held(0, "default/d.x")
        assert not store.is_held(1, "default/d.x")
        store.failed(replace(first, dead=True, attempts=1, error="no"))
        assert [one.id for one in store.due(NOW, 9)] == ["2", "3"], "a dead one holds nothing"
        store.handled("2")
        assert not store.is_held(0, "default/d.x")
        assert store.count() == (1, 1)


def test_retry_makes_dead_letters_live_and_drop_forgets_them(path: Path) -> None:
    with Store(path, create=True) as store:
        store.finish(0, 4, [letter(1, dead=True, attempts=7), letter(2, dead=True), letter(3)])
        assert store.retry(["1", "17"], NOW) == 1
        assert store.letter("1") == letter(1, since_ms=NOW, due_ms=NOW)
        assert store.drop(None) == 1, "a waiting letter is dropped by its id only"
        assert store.drop(["3"]) == 1
        assert store.retry(None, NOW) == 1
        store.failed(letter(2, attempts=1))
        assert store.letter("2") is None, "what was dropped meanwhile stays away"


def test_what_was_handed_over_is_known_until_it_was_finished(path: Path) -> None:
    with Store(path, create=True) as store:
        store.calling(["1", "2"])
    with Store(path, create=True) as store:
        assert store.left_calling() == {"1", "2"}
        store.finish(0, 2, [])
        assert store.left_calling() == set()


def test_file_of_a_newer_version_and_a_damaged_one_are_refused(path: Path) -> None:
    with Store(path, create=True):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(DataDirectoryError, match="format 2, this program knows 1"):
        Store(path, create=True)
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(DataDirectoryError, match="move it away"):
        Store(path, create=True)
    with pytest.raises(DataDirectoryError, match="does not exist"):
        Store(path.with_name("other.db"), create=False)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.booleans(), st.integers(0, 9)),
        max_size=12,
    )
)
def test_due_letters_are_those_of_a_plain_search(
    made: list[tuple[int, str, bool, int]],
) -> None:
    letters = [
        Letter(str(n), partition, n, name, b"{}", dead, 0, 0, due, "")
        for n, (partition, name, dead, due) in enumerate(made)
    ]
    alive = [one for one in letters if not one.dead]
    expected = [
        one
        for one in alive
        if one.due_ms <= 5
        and not any(
            (other.partition, other.conversation) == (one.partition, one.conversation)
            and other.position < one.position
            for other in alive
        )
    ]
    with (
        tempfile.TemporaryDirectory() as directory,
        Store(store_path(Path(directory), "notes"), create=True) as store,
    ):
        for one in letters:
            store.finish(one.partition, one.position, [one])
        assert store.due(5, 100) == sorted(expected, key=lambda one: (one.due_ms, one.position))
