"""Which options are turned, over which values, and under which work each shows what it does."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KNOBS", "Knob", "Work"]


@dataclass(frozen=True)
class Work:
    """Two loads on one server: as much as goes through, and a constant rate."""

    text: str
    scenario: str
    connections: int
    flat_out: tuple[object, ...]
    paced: tuple[object, ...]
    """Empty where the scenario has no rate."""
    transport: str = "ws-proto"
    per: str = "message"
    """What is counted: its name, in the fields of the generator's result too."""
    rate_field: str = "messages_per_second"


@dataclass(frozen=True)
class Knob:
    """One option, the values to try, and the work that shows it."""

    option: str
    values: tuple[str, ...]
    work: Work
    workers: int = 1


FAN_OUT = Work(
    "one group of 1,000, ephemeral: flat out with a window of 32, and 100 messages a second",
    "fanout",
    1000,
    ("--window", 32, "--ephemeral"),
    ("--rate", 100, "--ephemeral"),
    per="delivery",
    rate_field="delivered_per_second",
)
SINGLE = Work(
    "500 senders in pairs, durable: flat out with a window of 16, and 5,000 messages a second",
    "direct",
    500,
    ("--window", 16),
    ("--rate", 5000),
)
BURSTS = Work(
    "500 senders in pairs, durable: flat out with a window of 16 in one write, and 5,000 messages"
    " a second",
    "direct",
    500,
    ("--window", 16, "--write", "batch"),
    ("--rate", 5000),
)
SPARSE = Work(
    "500 senders in pairs, durable: flat out with a window of 1, and 2,000 messages a second",
    "direct",
    500,
    ("--window", 1),
    ("--rate", 2000),
)
CONNECTING = Work(
    "2,000 connections that are opened, 128 at a time; how long one takes",
    "connect",
    2000,
    (),
    (),
    transport="ws-json",
    per="connect",
    rate_field="connects_per_second",
)

KNOBS = (
    Knob("workers", ("1", "2", "4"), SINGLE),
    Knob("partitions", ("1", "2", "4", "16"), SINGLE, workers=2),
    Knob("cpu_affinity", ("off", "auto"), SINGLE, workers=2),
    Knob("durability", ("os", "fsync"), SPARSE),
    Knob("coalesce", ("adaptive", "0", "1", "5", "20"), FAN_OUT),
    Knob("fan_out_slice_sockets", ("1", "16", "64", "256", "1024"), FAN_OUT),
    Knob("fan_out_slice_s", ("0.1ms", "0.3ms", "1ms", "3ms", "10ms"), FAN_OUT),
    Knob("compression", ("off", "on"), FAN_OUT),
    Knob("batch_commands_max", ("16", "64", "256", "1024", "4096"), BURSTS),
    Knob("batch_bytes_max", ("160KiB", "512KiB", "4MiB", "16MiB"), BURSTS),
    Knob("inbox_bytes_max", ("1MiB", "8MiB", "64MiB"), BURSTS),
    Knob("segment_bytes", ("1MiB", "4MiB", "16MiB", "64MiB"), BURSTS),
    Knob("events_per_tick", ("8", "32", "128", "512", "2048"), SINGLE),
    Knob("checkpoint_s", ("0.25s", "1s", "5s", "30s"), SPARSE),
    Knob("accepts_per_tick", ("4", "16", "64", "256"), CONNECTING),
    Knob("control_slice_s", ("0.1ms", "1ms", "10ms"), CONNECTING),
)
"""Sixteen knobs, some 60 values: three rounds of them take under 20 minutes."""
