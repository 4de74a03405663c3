"""`imfast outbox`: what consumers failed at, and what to do about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from imfast.cli.config_options import config_flags, load_flags
from imfast.errors import DataDirectoryError

if TYPE_CHECKING:
    from imfast.outbox.store import Letter, Store

LETTERS_MAX = 1_000_000_000


@click.group()
def command() -> None:
    """Look after what the consumers of committed messages (option after_commit) failed at.

    Works on the data directory, whether the server runs or not: a running consumer sees a change
    within a second.
    """


@command.command("list")
@click.option("--consumer", help="This one only. [default: all]")
@click.option(
    "--state",
    type=click.Choice(["dead", "waiting", "all"]),
    default="dead",
    show_default=True,
    help="Dead letters, those that wait for an attempt, or both.",
)
@click.option(
    "--limit", type=click.IntRange(min=0), default=100, show_default=True, help="Most of a state."
)
@click.option("--bodies", is_flag=True, help="Print what users wrote, too. Needs --json.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
@config_flags("data_dir")
def list_letters(
    consumer: str | None, state: str, limit: int, bodies: bool, as_json: bool, **flags: Any
) -> None:
    """Show how far each consumer has come, and its letters in the order of their places."""
    if bodies and not as_json:
        raise click.UsageError("--bodies needs --json")
    for name, store in _stores(load_flags(flags).settings.data_dir, consumer):
        waiting, dead = store.count()
        positions = {str(partition): at for partition, at in sorted(store.positions().items())}
        letters = [
            letter
            for is_dead in (True, False)
            if state in ("all", "dead" if is_dead else "waiting")
            for letter in store.letters(dead=is_dead, limit=limit)
        ]
        if as_json:
            about = {"consumer": name, "positions": positions, "waiting": waiting, "dead": dead}
            click.echo(orjson.dumps(about))
            for letter in letters:
                click.echo(orjson.dumps({"consumer": name, **_letter(letter, bodies=bodies)}))
        else:
            reached = ", ".join(f"{partition}-{at}" for partition, at in positions.items())
            click.echo(f"{name}: {waiting} waiting, {dead} dead; reached {reached or 'nothing'}")
            for letter in letters:
                click.echo("  " + _line(letter))


@command.command()
@click.argument("ids", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All letters, waiting ones too.")
@click.option("--consumer", help="This one's only. [default: all consumers']")
@config_flags("data_dir")
def retry(ids: tuple[str, ...], every: bool, consumer: str | None, **flags: Any) -> None:
    """Make another attempt due now, of the letters with these IDS; dead ones live again.

    What came behind a dead letter in its conversation has been handed over meanwhile.
    """
    now_ms = time.time_ns() // 1_000_000
    _change(ids, every, consumer, flags, "retried", lambda store, which: store.retry(which, now_ms))


@command.command()
@click.argument("ids", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All dead letters.")
@click.option("--consumer", help="This one's only. [default: all consumers']")
@config_flags("data_dir")
def drop(ids: tuple[str, ...], every: bool, consumer: str | None, **flags: Any) -> None:
    """Give up the letters with these IDS for good: the consumer never gets them."""
    _change(ids, every, consumer, flags, "dropped", lambda store, which: store.drop(which))


def _change(
    ids: tuple[str, ...],
    every: bool,
    consumer: str | None,
    flags: dict[str, Any],
    done: str,
    change: Callable[[Store, tuple[str, ...] | None], int],
) -> None:
    if bool(ids) == every:
        raise click.UsageError("name letters by their IDS, or all of them by --all")
    total = 0
    for name, store in _stores(load_flags(flags).settings.data_dir, consumer):
        changed = change(store, None if every else ids)
        total += changed
        if changed or consumer:
            click.echo(f"{name}: {done} {changed}")
    if total < len(ids):
        raise click.ClickException(
            f"{len(set(ids)) - total} of {len(set(ids))} letters are not there (any more);"
            " `imfast outbox list --state all` shows those that are"
        )
    if every and not total:
        click.echo("no letters")


def _stores(data_directory: Path, consumer: str | None) -> Iterator[tuple[str, Store]]:
    from imfast.outbox.store import Store, stores_of

    found = stores_of(data_directory)
    if consumer is not None:
        if consumer not in found:
            known = ", ".join(found) or "none"
            raise DataDirectoryError(
                f"{data_directory}: no consumer {consumer!r} has run here; known: {known}"
            )
        found = {consumer: found[consumer]}
    elif not found:
        raise DataDirectoryError(
            f"{data_directory}: no consumer has run here; option after_commit names consumers"
        )
    for name, path in found.items():
        with Store(path, create=False) as store:
            yield name, store


def _letter(letter: Letter, *, bodies: bool) -> dict[str, Any]:
    tenant, _, conversation = letter.conversation.partition("/")
    shown = {
        "id": letter.id,
        "state": "dead" if letter.dead else "waiting",
        "position": f"{letter.partition}-{letter.position}",
        "tenant": tenant,
        "conversation": conversation,
        "attempts": letter.attempts,
        "since": _time(letter.since_ms),
        "died" if letter.dead else "due": _time(letter.due_ms),
        "error": letter.error,
    }
    return {**shown, "effect": orjson.loads(letter.effect)} if bodies else shown


def _line(letter: Letter) -> str:
    state = f"dead {_time(letter.due_ms)}" if letter.dead else f"due {_time(letter.due_ms)}"
    error = letter.error.splitlines()[0] if letter.error else "waits for one before it"
    return f"{letter.id}  {letter.conversation}  {state}  {letter.attempts} attempts  {error}"


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
