"""What stands behind commits: commits while archives flush, and a start that folds its log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.flow.figures import TABLE, Bar, Row, in_turn
from benchmarks.flow.server import Server
from imfast.bench.limit_programs import LimitPrograms

SECTION = "Storage"
CONNECTIONS = 1000
SECONDS = 4
RATE = 5000
COMMIT_BYTES = 1024
"""As in test_direct.py."""
FLUSHING = ("--archive-batch-commands", 1024, "--rows-memory-bytes", "1MiB")
"""Chunks five times a second, and a compaction after eight of them."""
UNARCHIVED = ("--archive-batch-commands", 1 << 22, "--rows-memory-bytes", "4GiB")


def _us(status: dict[str, Any], name: str) -> float:
    """The slower of the workers."""
    return max(float(worker["commit"][f"{name}_us"]) for worker in status["workers"])


def test_commits_while_archives_flush_and_compact(
    benchmark: Any, tmp_path: Path, limits: LimitPrograms, rounds: int
) -> None:
    def run(_: list[Any]) -> dict[str, Any]:
        with Server(tmp_path / "server", *FLUSHING, workers=2) as server:
            paced = ("--rate", RATE, "--seconds", SECONDS)
            figures = dict(server.run("direct", "tcp", CONNECTIONS, *paced))
            return {**figures, "status": server.status()}

    def disk(_: list[Any]) -> Any:
        return limits.sync_write(tmp_path / "limit", size=COMMIT_BYTES, ms=SECONDS * 1000)

    found = in_turn(benchmark, rounds, run, disk)
    for name, bar in (
        ("p50", Bar(at_most=1.3, of="limit")),
        ("p99", Bar(at_most=1.5, of="limit")),
    ):
        ours = [_us(run["status"], name) for run, _ in found]
        theirs = [float(limit[f"{name}_us"]) for _, limit in found]
        figure = f"commit while archives flush and compact, {RATE:,}/s: {name}, µs"
        TABLE.rows.append(Row.beside(figure, ours, "write + fdatasync", theirs, bar))


def test_start_behind_the_archive(benchmark: Any, tmp_path: Path, rounds: int) -> None:
    """A log of small batches that no archive has; what a million of its commands take to fold."""

    def run(_: list[Any]) -> dict[str, Any]:
        options = (*UNARCHIVED, "--partitions", 1)
        with Server(tmp_path / "server", *options, workers=1, durability="os") as server:
            closed = ("--window", 1, "--seconds", SECONDS)
            server.run("direct", "tcp", 4, *closed)
            opened = server.kill_and_start()
            return {"seconds_per_million": opened["replay_ms"] * 1e3 / opened["commands"]}

    found = in_turn(benchmark, rounds, run)
    figure = "start: seconds per million commands behind the archive, small batches"
    TABLE.rows.append(
        Row.alone(figure, [run["seconds_per_million"] for (run,) in found], Bar(at_most=1.0))
    )
