"""The options of `imfast bench` that go to the load generator as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from imfast.cli.times import Seconds

__all__ = ["OPTIONS", "SCENARIOS", "generator_arguments", "generator_options"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

SCENARIOS = {
    "connect": "open connections, and measure that",
    "idle": "connect and hold: memory, and what heartbeats cost",
    "fanout": "one sends to a group of all others",
    "direct": "pairs send to each other",
    "group": "everybody sends to a group of --members",
    "mixed": "a mix of verbs, see --mix",
    "storm": "all connections are lost at once and come back",
    "slow-consumers": "a fan-out of which --stalled subscribers do not read",
    "verify": "count every number of every conversation: lost, repeated, reordered",
}


@dataclass(frozen=True)
class GeneratorOption:
    """One that the generator has under the same name."""

    flag: str
    type: click.ParamType[Any] | None
    """None: a flag without a value."""
    help: str
    metavar: str = "N"
    default: Any = None

    @property
    def name(self) -> str:
        return self.flag.removeprefix("--").replace("-", "_")


_COUNT = click.IntRange(min=1)
_POSITIVE = click.FloatRange(min=0, min_open=True)

OPTIONS = (
    GeneratorOption("--connections", _COUNT, "Connections; of fanout, subscribers.", default=1000),
    GeneratorOption(
        "--transport", click.STRING, "ws-json, ws-proto, tcp, http, sse.", "NAME", "ws-json"
    ),
    GeneratorOption("--seconds", Seconds(above=0), "Measured time.", "TIME", "5s"),
    GeneratorOption("--warmup", Seconds(), "Time before it.", "TIME", "1s"),
    GeneratorOption(
        "--window", _COUNT, "Closed loop: messages under way, of each sender.", default=16
    ),
    GeneratorOption(
        "--rate",
        _POSITIVE,
        "Open loop instead: messages a second, of all senders together. Latency then runs from"
        " the time at which a message was to be sent.",
        "PER_SECOND",
    ),
    GeneratorOption(
        "--write",
        click.Choice(["each", "batch"]),
        "A system call for each message, or one for all that may go at once.",
        "each|batch",
        "each",
    ),
    GeneratorOption("--body-bytes", click.IntRange(0, 1 << 20), "Text of a message.", "BYTES", 128),
    GeneratorOption("--ephemeral", None, "Messages that are neither stored nor numbered."),
    GeneratorOption("--no-keys", None, "No idempotency keys."),
    GeneratorOption("--publishers", _COUNT, "fanout: connections that send.", default=1),
    GeneratorOption("--members", _COUNT, "group, mixed: members of a group.", default=10),
    GeneratorOption("--groups", _COUNT, "verify: groups. [default: a tenth of the connections]"),
    GeneratorOption(
        "--drain",
        Seconds(),
        "verify, storm: time for everything to arrive in the end.",
        "TIME",
        "30s",
    ),
    GeneratorOption(
        "--bystanders",
        click.IntRange(min=2),
        "storm: connections that stay, and send to each other.",
        default=10,
    ),
    GeneratorOption(
        "--away",
        Seconds(),
        "storm: between the end of the others and their return.",
        "TIME",
        "1s",
    ),
    GeneratorOption("--by-server", None, "storm: wait for the server to end them instead."),
    GeneratorOption(
        "--mix",
        click.STRING,
        "mixed: shares of direct, group, ephemeral, history, read, reconnect.",
        "KIND=SHARE,…",
    ),
    GeneratorOption(
        "--stalled", _COUNT, "slow-consumers: subscribers that do not read.", default=10
    ),
    GeneratorOption(
        "--receive-buffer",
        _COUNT,
        "slow-consumers: what the kernel holds for each of them. [default: 4096]",
        "BYTES",
    ),
    GeneratorOption(
        "--processes", _COUNT, "Of the generator, which share the connections.", default=1
    ),
    GeneratorOption(
        "--concurrency", _COUNT, "Connections that are being opened at once. [default: 128]"
    ),
    GeneratorOption(
        "--sources",
        click.IntRange(1, 254),
        "Client addresses from 127.0.0.1 on. [default: one for 20,000 connections]",
    ),
    GeneratorOption(
        "--burn-us", click.IntRange(min=0), "Waste that much for each message: a slow client.", "US"
    ),
)


def generator_options(function: Decorated) -> Decorated:
    """Adds the generator's options."""
    for option in reversed(OPTIONS):
        function = click.option(
            option.flag,
            option.name,
            type=option.type,
            is_flag=option.type is None,
            metavar=None if option.type is None else option.metavar,
            default=option.default,
            show_default=option.default is not None,
            help=option.help,
        )(function)
    return function


def generator_arguments(given: dict[str, Any]) -> list[str]:
    """The generator's command line for these values; takes its own out of `given`."""
    arguments: list[str] = []
    for option in OPTIONS:
        value = given.pop(option.name)
        if option.type is None:
            arguments += [option.flag] if value else []
        elif value is not None:
            arguments += [option.flag, str(value)]
    return arguments
