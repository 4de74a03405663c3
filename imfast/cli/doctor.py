"""`imfast doctor`: looks at this machine before a server runs on it."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imfast.cli.config_options import config_flags, load_flags
from imfast.config.schema import Settings

if TYPE_CHECKING:
    from imfast.doctor import Capacity, Finding
    from imfast.doctor.loopback import Loopback

SOCKETS_DEFAULT = 10_000
SOCKETS_MAX = 15_000

OPTIONS = (
    "data_dir",
    "workers",
    "connections_max",
    "accept_backlog",
    "durability",
    "segment_bytes",
)
"""Those that an answer depends on."""


@click.command()
@config_flags(*OPTIONS)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--sockets",
    type=click.IntRange(0, SOCKETS_MAX),
    default=SOCKETS_DEFAULT,
    show_default=True,
    help="Most sockets to open for the kernel's memory per connection; 0 opens none.",
)
def command(as_json: bool, sockets: int, **flags: Any) -> None:
    """Look at this machine: limits, disk, clock, build, and how many connections it can hold.

    Writes a file of some MB to the data directory (or where it will be made) and opens connections
    to itself, for a few seconds in all. Give the options that `imfast serve` gets.

    Exit code: 1 when anything is red, otherwise 0.
    """
    settings = load_flags(flags).settings

    from imfast._engine import build_info
    from imfast.doctor import Level, capacity, examine, take_readings
    from imfast.doctor.disk import measure_sync
    from imfast.doctor.loopback import open_loopback

    before = _clock_offset()
    try:
        sync = measure_sync(_nearest(settings.data_dir))
    except OSError as error:
        raise click.ClickException(f"{settings.data_dir}: {error.strerror}") from None
    readings = take_readings(
        settings.data_dir,
        sync=sync,
        clock_step_s=_clock_offset() - before,
        profile=build_info()["profile"],
    )
    loopback = open_loopback(sockets, readings.memory_available_bytes)
    findings = examine(readings, settings)
    held = capacity(readings, settings, loopback)
    if as_json:
        click.echo(json.dumps(_document(findings, held, loopback, settings)))
    else:
        _print(findings, held, loopback)
    sys.exit(any(finding.level is Level.RED for finding in findings))


def _clock_offset() -> float:
    """Wall clock less monotonic clock: it moves only when somebody sets or slews the former."""
    return time.time() - time.monotonic()


def _nearest(path: Path) -> Path:
    """The directory, or the nearest one above it that exists: on the same disk, as a rule."""
    return next(parent for parent in (path, *path.parents) if parent.is_dir())


def _document(
    findings: list[Finding], held: Capacity, loopback: Loopback | None, settings: Settings
) -> dict[str, Any]:
    return {
        "findings": [asdict(finding) for finding in findings],
        "connections": held.connections,
        "limited_by": held.first.name,
        "limits": [asdict(limit) for limit in held.limits],
        "bytes_per_connection": held.bytes_per_connection,
        "loopback": asdict(loopback) if loopback else None,
        "workers": settings.worker_count,
    }


def _print(findings: list[Finding], held: Capacity, loopback: Loopback | None) -> None:
    for finding in findings:
        mark = click.style(f"{finding.level:<6}", fg=str(finding.level))
        click.echo(f"{mark}  {finding.name:<13} {finding.value}")
        for text in filter(None, (finding.why, finding.cure and f"mend: {finding.cure}")):
            click.echo(f"{'':<22}{text}")
    click.echo(f"\nThis machine holds {held.connections:,} idle connections. What bounds it:")
    for limit in held.limits:
        click.echo(f"  {limit.connections:>12,}  {limit.name} ({limit.cure})")
    if loopback is None:
        click.echo("Memory per connection was not measured: too few sockets could be opened.")
    else:
        click.echo(
            f"Measured with {loopback.connections:,} connections:"
            f" {loopback.bytes_per_end / 1024:.1f} KiB of kernel memory for each end,"
            f" the second half within {loopback.deviation:.0%} of what the first foretold."
        )
