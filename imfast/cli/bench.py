"""`imfast bench`: puts load on a running server and says what it did, beside what is possible."""

from __future__ import annotations

import json
import resource
import shlex
import sys
import tempfile
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imfast.cli.bench_options import SCENARIOS, generator_arguments, generator_options
from imfast.cli.config_options import config_flags, load_flags
from imfast.config.schema import Settings

if TYPE_CHECKING:
    from imfast.bench.generator import Generator
    from imfast.bench.limits import Limit
    from imfast.bench.progress import Progress
    from imfast.bench.report import Report, Sample
    from imfast.bench.target import Target

WHERE = (
    "host",
    "port",
    "tcp_port",
    "admin_port",
    "data_dir",
    "jwt_algorithm",
    "jwt_secret_file",
    "jwt_public_key_file",
    "jwt_issuer",
    "jwt_audience",
)
"""The server's options that say where it is and which tokens it takes."""

TOKEN_TTL_S = 3600.0
SPARE_FILES = 64
APART = ("publishers", "stalled", "bystanders")
"""Connections that a scenario may have on top of --connections."""
EXIT_VOID = 3
EXIT_INTERRUPTED = 130

EPILOG = (
    "\b\nScenarios:\n"
    + "\n".join(f"  {name:<15} {about}" for name, about in SCENARIOS.items())
    + """

\b
Exit codes:
  0  measured          1  could not measure      130  interrupted
  2  wrong option      3  measured, and void: the generator was saturated, or messages are missing
"""
)


@click.command(epilog=EPILOG)
@click.argument("scenario", type=click.Choice(list(SCENARIOS)), metavar="SCENARIO")
@generator_options
@click.option(
    "--json", "json_file", metavar="FILE", type=click.Path(path_type=Path), help="Write JSON."
)
@click.option(
    "--html",
    "html_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write a page with plots.",
)
@click.option("--no-limit", is_flag=True, help="Do not measure what the kernel does alone.")
@click.option(
    "--tokens",
    "tokens_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A line `user token` for each connection, of users that were never here: for servers"
    " whose tokens only their issuer can sign.",
)
@config_flags(*WHERE)
def command(
    scenario: str,
    json_file: Path | None,
    html_file: Path | None,
    no_limit: bool,
    tokens_file: Path | None,
    **given: Any,
) -> None:
    """Put load on a running server; print what it did, with the limit beside each figure.

    Users of its own, and groups and messages of theirs, stay in the server's data: measure servers
    whose data you can do without. Tokens are signed as `imfast token` signs them. The limit is what
    the kernel does for the same bytes without any logic: small C programs that are built and run
    where the sources and a C compiler are.
    """
    options = {name: given[name] for name in given if name not in (*WHERE, "config_file")}
    arguments = [scenario, *generator_arguments(given)]
    options["scenario"] = scenario
    settings = load_flags(given).settings

    from imfast.bench.generator import GeneratorError
    from imfast.bench.target import NoServerError, find_target

    _check_files(options["connections"], options["processes"])
    try:
        target = find_target(settings, options["transport"])
        with tempfile.TemporaryDirectory(prefix="imfast-bench-") as folder:
            tokens = tokens_file or _sign(Path(folder) / "tokens", settings, options)
            report = _measure(
                [*arguments, *_place(target), "--tokens", str(tokens)],
                options,
                target,
                disk=settings.data_dir if settings.data_dir.is_dir() else None,
                with_limit=not no_limit,
            )
    except NoServerError as error:
        raise click.ClickException(str(error)) from None
    except GeneratorError as error:
        raise click.ClickException(_explained(str(error), tokens_file)) from None
    except KeyboardInterrupt:
        click.echo("\nstopped; nothing was measured", err=True)
        sys.exit(EXIT_INTERRUPTED)
    _hand_over(report, json_file, html_file)
    sys.exit(EXIT_VOID if report.void else 0)


def _explained(complaint: str, tokens_file: Path | None) -> str:
    """The generator's words, and what to do about the one that a wrong option explains."""
    if "token_invalid" not in complaint:
        return complaint
    tokens = f"tokens of {tokens_file}" if tokens_file else "tokens that we signed"
    cure = "" if tokens_file else ": say with --data-dir where its data is, or give --tokens"
    return f"{complaint}: the server does not take the {tokens}{cure}"


def _check_files(connections: int, processes: int) -> None:
    """Refuses more connections than a process of the generator may open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(0, hard - SPARE_FILES) * processes
    if connections > most:
        raise click.UsageError(
            f"--connections {connections}: this machine lets {processes} process(es) open {most}"
            f" (ulimit -Hn says {hard}): raise that, or give more --processes"
        )


def _place(target: Target) -> list[str]:
    arguments = ["--host", target.host, "--port", str(target.port)]
    if target.pids:
        arguments += ["--server-pids", ",".join(map(str, target.pids))]
    return arguments


def _sign(path: Path, settings: Settings, options: dict[str, Any]) -> Path:
    """Writes a token for each connection, of users that were never here: nothing is caught up."""
    from imfast.access.sign import sign_token

    run = uuid.uuid4().hex[:12]
    count = options["connections"] + sum(options[name] for name in APART)
    users = [f"bench-{run}-{number}" for number in range(count)]
    lines = [f"{user} {sign_token(settings, user, ttl_s=TOKEN_TTL_S)}\n" for user in users]
    path.touch(mode=0o600)
    path.write_text("".join(lines))
    return path


def _measure(
    arguments: list[str],
    options: dict[str, Any],
    target: Target,
    *,
    disk: Path | None,
    with_limit: bool,
) -> Report:
    from imfast.bench.generator import Generator
    from imfast.bench.progress import progress
    from imfast.bench.report import Report

    memory_kib = target.memory_kib()
    with progress(options["warmup"] + options["seconds"]) as shown:
        generator = Generator(*arguments, "--progress")
        with generator, generator.ended_by_interrupt():
            result, samples = _follow(generator, options, shown, target)
        if options["scenario"] == "idle" and memory_kib:
            result["server_memory_kib_per_connection"] = (
                result.pop("memory_kib") - memory_kib
            ) / result["connections"]
        limit, no_limit = None, "not measured (--no-limit)"
        if with_limit:
            shown.say("measuring the limit")
            stored = not options["ephemeral"] and target.durability == "fsync"
            limit, no_limit = _limit(result, options, disk if stored else None)
    return Report.now(
        command=shlex.join(["imfast", *sys.argv[1:]]),
        options=options,
        result=result,
        samples=samples,
        limit=limit,
        no_limit=no_limit,
    )


def _follow(
    generator: Generator, options: dict[str, Any], shown: Progress, target: Target
) -> tuple[dict[str, Any], list[Sample]]:
    """Shows what the generator tells; returns its result and what arrived in each second."""
    from imfast.bench.report import Sample

    samples: list[Sample] = []
    held = {}
    shown.say(f"connecting {options['connections']:,}")

    def let_go() -> None:
        held["memory_kib"] = target.memory_kib()
        generator.release()

    for event in generator.events():
        match event["event"]:
            case "ready" if event["connections"]:
                shown.say(f"{event['connections']:,} connected")
                if options["scenario"] == "idle":
                    # It holds its connections until its input ends.
                    threading.Timer(options["seconds"], let_go).start()
            case "progress":
                shown.show(event)
                # A scenario that checks what arrives counts, and tells no rate.
                if "per_second" in event:
                    samples.append(Sample(event["seconds"], event["per_second"]))
            case "result":
                return {**event, **held}, samples
    raise AssertionError("events end with the result or an exception")


def _limit(
    result: dict[str, Any], options: dict[str, Any], disk: Path | None
) -> tuple[Limit | None, str]:
    """The limit, or why there is none."""
    from imfast.bench.limit_programs import LimitPrograms, LimitsUnavailableError
    from imfast.bench.limits import measure_limit

    try:
        limit = measure_limit(LimitPrograms(), result, options, disk=disk)
    except LimitsUnavailableError as error:
        return None, f"not measured ({error})"
    return limit, "" if limit else "none for this scenario"


def _hand_over(report: Report, json_file: Path | None, html_file: Path | None) -> None:
    from imfast.bench.page import page
    from imfast.bench.table import print_report

    print_report(report)
    try:
        if json_file:
            json_file.write_text(json.dumps(report.document(), indent=1) + "\n")
            click.echo(f"JSON: {json_file}")
        if html_file:
            html_file.write_text(page(report))
            click.echo(f"page: {html_file}")
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
