"""`imfast data`: verify, inspect, back up, restore and reshard a data directory."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from imfast.cli.config_options import config_flags, load_flags
from imfast.config.worker_document import PARTITIONS_MAX
from imfast.errors import ExitCode

if TYPE_CHECKING:
    from imfast.data import Copied, LoggedCommand, PartitionReport


@click.group()
def command() -> None:
    """Look at a data directory, copy it, or make one of a copy.

    `verify`, `inspect` and `backup` only read, and work while the server runs.
    """


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each partition.")
@config_flags("data_dir")
def verify(as_json: bool, **flags: Any) -> None:
    """Read every log and archive, check every checksum, and list all damage with place and cure.

    Exit code: 7 when anything is damaged, otherwise 0.
    """
    from imfast.data import verify as verified

    damaged = False
    for found in verified(load_flags(flags).settings.data_dir):
        damaged = damaged or bool(found.problems)
        click.echo(_report_json(found) if as_json else "\n".join(_report_lines(found)))
    sys.exit(ExitCode.DATA_DAMAGED if damaged else ExitCode.OK)


@command.command()
@click.argument("partition", type=click.IntRange(min=0))
@click.option(
    "--from",
    "from_position",
    type=click.IntRange(min=0),
    default=0,
    help="First position. [default: the first there is]",
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Most commands."
)
@click.option("--bodies", is_flag=True, help="Print what users wrote, too, as base64.")
@config_flags("data_dir")
def inspect(partition: int, from_position: int, limit: int, bodies: bool, **flags: Any) -> None:
    """Print the commands of PARTITION's log, one JSON object a line."""
    from imfast._engine import DataDamagedError, DataFormatError
    from imfast.data import commands

    directory = load_flags(flags).settings.data_dir
    try:
        for found in commands(directory, partition, from_position=from_position, count_max=limit):
            click.echo(_command_json(found, bodies=bodies))
    except (DataDamagedError, DataFormatError) as error:
        click.echo(f"imfast: {error}", err=True)
        sys.exit(ExitCode.DATA_DAMAGED)


@command.command()
@click.argument("target", type=click.Path(path_type=Path))
@config_flags("data_dir")
def backup(target: Path, **flags: Any) -> None:
    """Copy the data directory to TARGET, which must not exist or be empty.

    Works while the server runs: everything acknowledged before is in the copy, logs and archives.
    Secrets, keys and the configuration are not copied: keep them apart from the data.
    """
    from imfast.data import back_up

    _print_copied(back_up(load_flags(flags).settings.data_dir, target))


@command.command()
@click.argument("source", type=click.Path(path_type=Path))
@config_flags("data_dir")
def restore(source: Path, **flags: Any) -> None:
    """Make a data directory (`--data-dir`, which must not exist or be empty) of the backup SOURCE.

    Clients that were ahead of the backup are told where it ends when they come back.
    """
    from imfast.data import restore as restored

    _print_copied(restored(source, load_flags(flags).settings.data_dir))


@command.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--partitions",
    type=click.IntRange(min=1, max=PARTITIONS_MAX),
    required=True,
    help="Partitions of the new directory.",
)
@config_flags("data_dir")
def reshard(target: Path, partitions: int, **flags: Any) -> None:
    """Make of the data directory another one, TARGET, with another number of partitions.

    TARGET must not exist or be empty; no server may use the old directory meanwhile. All
    conversations, numbers, members and keys are read again in the new one before it counts. Clients
    go on from their devices' cursors and may be shown something twice.
    """
    from imfast.data import reshard as resharded

    done = resharded(load_flags(flags).settings.data_dir, target, partitions)
    click.echo(
        f"complete: {done.conversations:,} conversations, {done.rows:,} messages and events,"
        f" {done.members:,} members, {done.keys:,} keys in {partitions} partitions"
    )


def _print_copied(copies: Iterator[Copied]) -> None:
    total = 0
    for copied in copies:
        total += copied.bytes
        click.echo(
            f"partition {copied.partition}: up to position {copied.last_position:,},"
            f" {copied.segments} segments, {copied.bytes:,} bytes"
        )
    click.echo(f"complete: {total:,} bytes")


def _report_lines(found: PartitionReport) -> Iterator[str]:
    state = "DAMAGED" if found.problems else "whole"
    counts = ""
    if found.report is not None:
        counts = (
            f", {found.report.segments} segments, {found.report.batches:,} batches,"
            f" {found.report.commands:,} commands up to position {found.report.last_position:,}"
        )
    if found.archive is not None:
        counts += (
            f"; archive of {found.archive.rows:,} messages and events"
            f" up to position {found.archive.position:,}"
        )
    yield f"partition {found.partition}: {state}{counts}"
    for text in (*found.problems, *found.notes):
        yield f"  {text}"


def _report_json(found: PartitionReport) -> bytes:
    report, archive = found.report, found.archive
    return orjson.dumps(
        {
            "partition": found.partition,
            "whole": not found.problems,
            "segments": report.segments if report else None,
            "batches": report.batches if report else None,
            "commands": report.commands if report else None,
            "first_position": report.first_position if report else None,
            "last_position": report.last_position if report else None,
            "archive": {
                "position": archive.position,
                "rows": archive.rows,
                "keys": archive.keys,
                "bytes": archive.bytes,
            }
            if archive
            else None,
            "problems": found.problems,
            "notes": found.notes,
        }
    )


def _command_json(found: LoggedCommand, *, bodies: bool) -> bytes:
    line: dict[str, Any] = {
        "position": found.position,
        "epoch": found.epoch,
        "time": datetime.fromtimestamp(found.time_ms / 1000, UTC).isoformat(
            timespec="milliseconds"
        ),
        "kind": found.kind,
        "tenant": found.tenant.decode(errors="backslashreplace"),
        "user": found.user,
        "key": base64.b64encode(found.key).decode() if found.key else None,
        "conversation": found.conversation,
        "message_id": str(found.message_id) if found.message_id else None,
        "body_bytes": len(found.body),
    }
    if bodies:
        line["body"] = base64.b64encode(found.body).decode()
    return orjson.dumps(line)
