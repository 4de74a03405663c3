"""What a reader keeps on disk: how far it has come, what waits for another attempt, dead letters.

One SQLite file a reader, ``outbox/NAME.db`` below the data directory. SQLite's own transactions let
`imfast outbox` look into it and change it at any time, whether the reader runs or not.

A position and the letters up to it are one transaction. Each survives the kill of every process; a
power cut may take the last second's, after which that second's effects are handed over again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from imfast.errors import DataDirectoryError

__all__ = ["ERROR_CHARACTERS_MAX", "Letter", "Store", "copy_store", "store_path", "stores_of"]

VERSION = 1
BUSY_S = 10.0
"""How long one side waits for the other's transaction."""

ERROR_CHARACTERS_MAX = 2_000

_SCHEMA = """
CREATE TABLE positions (partition INTEGER PRIMARY KEY, position INTEGER NOT NULL) STRICT;
CREATE TABLE letters (
    id TEXT PRIMARY KEY,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,
    conversation TEXT NOT NULL,
    effect BLOB NOT NULL,
    dead INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    error TEXT NOT NULL
) STRICT;
CREATE INDEX letters_in_order ON letters (dead, partition, conversation, position);
CREATE INDEX letters_by_time ON letters (dead, due_ms);
CREATE TABLE calling (id TEXT PRIMARY KEY) STRICT;
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
"""

_LETTER = "id, partition, position, conversation, effect, dead, attempts, since_ms, due_ms, error"

# The first that is not dead of each conversation: the others wait for it.
_HEADS = f"""
SELECT {_LETTER} FROM letters AS one WHERE dead = 0 AND due_ms <= ? AND NOT EXISTS (
    SELECT 1 FROM letters AS earlier WHERE earlier.dead = 0
    AND earlier.partition = one.partition AND earlier.conversation = one.conversation
    AND earlier.position < one.position
) ORDER BY due_ms, position LIMIT ?
"""  # noqa: S608 - the names of columns


@dataclass(frozen=True, slots=True)
class Letter:
    """An effect that was not handled yet."""

    id: str
    partition: int
    position: int
    conversation: str
    """The tenant's name, a slash and the conversation's id."""
    effect: bytes
    """The effect as the owner wrote it."""
    dead: bool
    """No attempt follows by itself."""
    attempts: int
    """Those that failed; 0 where it only waits for one before it in its conversation."""
    since_ms: int
    """When it came here, milliseconds since 1970."""
    due_ms: int
    """When the next attempt is due; when it died, for a dead one."""
    error: str
    """How the last attempt failed."""


def store_path(data_directory: Path, name: str) -> Path:
    """Where the reader `name` keeps its state."""
    return data_directory / "outbox" / f"{name}.db"


def stores_of(data_directory: Path) -> dict[str, Path]:
    """The readers that have kept something, by name."""
    return {path.stem: path for path in sorted((data_directory / "outbox").glob("*.db"))}


def copy_store(source: Path, target: Path, generation: int | None) -> None:
    """Copies a reader's state as of one moment, also while the reader runs.

    Args:
        generation: the layout of the logs that the copy goes with, where that is another one in
            which positions mean what they did.

    Raises:
        DataDirectoryError: it is damaged, or the target cannot be written.
    """
    with Store(source, create=False) as store, Store(target, create=True) as copy:
        store.copy_to(copy)
        if generation is not None:
            copy.set_fact("generation", generation)
        copy.make_durable()


class Store:
    """An open file. Used on one thread."""

    def __init__(self, path: Path, *, create: bool) -> None:
        """Opens it.

        Raises:
            DataDirectoryError: it is missing and not to be made, newer, damaged or unusable.
        """
        self.path = path
        try:
            if create:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                # SQLite gives its side files the same rights.
                path.touch(mode=0o600)
            elif not path.is_file():
                raise DataDirectoryError(f"{path} does not exist")
            self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise DataDirectoryError(
                f"{path}: {error}; if it is damaged, move it away with the reader stopped: the"
                " reader then starts where its partitions know it to be, and letters in it are lost"
            ) from None

    def _open(self) -> None:
        connection = self._connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            [version] = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise DataDirectoryError(
                    f"{self.path} has format {version}, this program knows {VERSION}: it was"
                    " written by a newer version; use that one"
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def copy_to(self, other: Store) -> None:
        """Makes `other` the same.

        Raises:
            DataDirectoryError: one of the files is damaged or cannot be used.
        """
        try:
            self._connection.backup(other._connection)
        except sqlite3.Error as error:
            raise DataDirectoryError(f"{self.path} to {other.path}: {error}") from None

    # Positions

    def positions(self) -> dict[int, int]:
        """By partition: everything up to there was handled or is a letter."""
        return dict(self._connection.execute("SELECT partition, position FROM positions"))

    def set_position(self, partition: int, position: int) -> None:
        """Starts a partition there, ahead or back."""
        with self._transaction():
            self._put_position(partition, position)

    def clear_positions(self) -> None:
        """Forgets where it was: the layout is another one."""
        with self._transaction():
            self._connection.execute("DELETE FROM positions")

    def _put_position(self, partition: int, position: int) -> None:
        self._connection.execute(
            "INSERT INTO positions VALUES (?, ?)"
            " ON CONFLICT (partition) DO UPDATE SET position = excluded.position",
            (partition, position),
        )

    def fact(self, name: str) -> int | None:
        """A number that was kept by name."""
        row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def set_fact(self, name: str, value: int) -> None:
        """Keeps a number by name."""
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def make_durable(self) -> None:
        """Returns when everything so far survives a power cut."""
        # A synchronised commit takes all earlier ones with it: they are in the same journal.
        self._connection.execute("PRAGMA synchronous = FULL")
        try:
            with self._transaction():
                self._connection.execute(
                    "INSERT INTO facts VALUES ('synced', 1)"
                    " ON CONFLICT (name) DO UPDATE SET value = value + 1"
                )
        finally:
            self._connection.execute("PRAGMA synchronous = NORMAL")

    # A call of the consumer

    def calling(self, ids: Iterable[str]) -> None:
        """Notes what is handed over now: a process that ends meanwhile leaves the note."""
        with self._transaction():
            self._connection.execute("DELETE FROM calling")
            self._connection.executemany("INSERT INTO calling VALUES (?)", [(one,) for one in ids])

    def left_calling(self) -> set[str]:
        """What was handed over when the last process ended."""
        return {one for (one,) in self._connection.execute("SELECT id FROM calling")}

    def finish(self, partition: int, position: int, letters: Sequence[Letter]) -> None:
        """Everything up to `position` was handled, but for `letters`."""
        with self._transaction():
            self._put_position(partition, position)
            self._connection.executemany(
                f"INSERT INTO letters ({_LETTER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
                " ON CONFLICT (id) DO NOTHING",
                [_row_of(letter) for letter in letters],
            )
            self._connection.execute("DELETE FROM calling")

    # Letters

    def is_held(self, partition: int, conversation: str) -> bool:
        """Whether effects of the conversation have to wait for an earlier one."""
        found = self._connection.execute(
            "SELECT 1 FROM letters WHERE dead = 0 AND partition = ? AND conversation = ? LIMIT 1",
            (partition, conversation),
        )
        return found.fetchone() is not None

    def due(self, now_ms: int, limit: int) -> list[Letter]:
        """The letters whose attempt is due, at most one of a conversation."""
        return _letters(self._connection.execute(_HEADS, (now_ms, limit)))

    def letter(self, letter_id: str) -> Letter | None:
        """The letter with that id."""
        found = _letters(
            self._connection.execute(f"SELECT {_LETTER} FROM letters WHERE id = ?", (letter_id,))  # noqa: S608
        )
        return found[0] if found else None

    def letters(self, *, dead: bool, limit: int) -> list[Letter]:
        """The letters in the order of their places; dead ones, or those that wait."""
        return _letters(
            self._connection.execute(
                f"SELECT {_LETTER} FROM letters WHERE dead = ?"  # noqa: S608
                " ORDER BY partition, position LIMIT ?",
                (int(dead), limit),
            )
        )

    def count(self) -> tuple[int, int]:
        """How many wait, and how many are dead."""
        count = dict(
            self._connection.execute("SELECT dead, count(*) FROM letters GROUP BY dead").fetchall()
        )
        return count.get(0, 0), count.get(1, 0)

    def handled(self, letter_id: str) -> None:
        """An attempt succeeded."""
        with self._transaction():
            self._connection.execute("DELETE FROM letters WHERE id = ?", (letter_id,))
            self._connection.execute("DELETE FROM calling")

    def failed(self, letter: Letter) -> None:
        """An attempt failed: keeps what `letter` says now, unless it was dropped meanwhile."""
        with self._transaction():
            self._connection.execute(
                "UPDATE letters SET dead = ?, attempts = ?, due_ms = ?, error = ? WHERE id = ?",
                (letter.dead, letter.attempts, letter.due_ms, letter.error, letter.id),
            )
            self._connection.execute("DELETE FROM calling")

    def retry(self, ids: Sequence[str] | None, now_ms: int) -> int:
        """Makes attempts due now, those of dead letters afresh; all of them for None.

        Returns how many letters that were.
        """
        now = f"since_ms = {now_ms:d}, due_ms = {now_ms:d}"
        change = f"UPDATE letters SET dead = 0, attempts = 0, {now}"  # noqa: S608 - numbers
        return self._each(change, ids)

    def drop(self, ids: Sequence[str] | None) -> int:
        """Gives letters up for good; for None all dead ones. Returns how many."""
        if ids is None:
            with self._transaction():
                return self._connection.execute("DELETE FROM letters WHERE dead = 1").rowcount
        return self._each("DELETE FROM letters", ids)

    def _each(self, change: str, ids: Sequence[str] | None) -> int:
        with self._transaction():
            if ids is None:
                return self._connection.execute(change).rowcount
            changed = 0
            for one in ids:
                changed += self._connection.execute(f"{change} WHERE id = ?", (one,)).rowcount
            return changed


_Row = tuple[str, int, int, str, bytes, int, int, int, int, str]


def _letters(rows: Iterable[_Row]) -> list[Letter]:
    return [Letter(*row[:5], bool(row[5]), *row[6:]) for row in rows]


def _row_of(letter: Letter) -> tuple[object, ...]:
    return (
        letter.id,
        letter.partition,
        letter.position,
        letter.conversation,
        letter.effect,
        int(letter.dead),
        letter.attempts,
        letter.since_ms,
        letter.due_ms,
        letter.error[:ERROR_CHARACTERS_MAX],
    )
