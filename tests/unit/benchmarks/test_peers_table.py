"""The page that shows other servers beside imfast: what is a ratio, and what is none."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.peers.registry import PEERS
from benchmarks.peers.results import SATURATED, Measured
from benchmarks.peers.table import render

WORK, RATE, COST = "fan-out to 10", "delivered/s", "µs of server CPU a delivery"


def page(*measured: Measured, **more: Any) -> str:
    about = {"revision": "abc", "date": "2026-01-01", "machine": "2 cores", "cores_of_others": 0.1}
    found = {"measured": [asdict(one) for one in measured], "versions": {}, "skipped": {}}
    return render(about | found | more)


def line(text: str, start: str) -> list[str]:
    """The last one: the table of the peers themselves comes before those of what they did."""
    found = [one for one in text.splitlines() if one.startswith(f"| {start} |")]
    return [cell.strip() for cell in found[-1].strip("|").split("|")]


def test_ratio_is_the_median_of_pairs_and_durable_has_a_column_of_its_own() -> None:
    text = page(
        Measured(WORK, RATE, "NATS", (100.0, 200.0), (300.0, 400.0)),
        Measured(WORK, RATE, "imfast, durable", (75.0,), ()),
    )
    assert line(text, "NATS")[1:] == ["150 (100-200)", "2.5 (2-3)", "0.5"]
    assert line(text, "imfast, ephemeral")[1:] == ["350 (300-400)", "", ""]
    assert line(text, "imfast, durable")[1:] == ["75", "", ""]


def test_saturated_generator_makes_a_rate_void_but_not_the_servers_cpu_time() -> None:
    notes = (SATURATED,)
    text = page(
        Measured(WORK, RATE, "NATS", (100.0,), (300.0,), notes),
        Measured(WORK, COST, "NATS", (2.0,), (1.0,), notes),
    )
    assert line(text, "NATS")[2] == "void"
    assert line(text, "NATS")[5] == "0.5"


def test_peer_that_delivered_nothing_has_no_ratio() -> None:
    text = page(Measured(WORK, RATE, "NATS", (0.0,), (300.0,), ("9 still under way after 5 s",)))
    assert line(text, "NATS")[1:] == ["0 (9 still under way after 5 s)", "", ""]


def test_work_that_no_peer_did_shows_the_durable_figure_alone() -> None:
    text = page(Measured(WORK, RATE, "imfast, durable", (75.0,), ()))
    assert line(text, "imfast, durable")[1:] == ["75", "", ""]
    assert line(text, "imfast, ephemeral")[1:] == ["", "", ""]


def test_peer_that_is_not_installed_is_named_with_its_reason() -> None:
    text = page(versions={"NATS": "v2"}, skipped={"mosquitto": "is not installed"})
    assert line(text, "NATS")[1] == "v2"
    assert line(text, "mosquitto")[1] == "not installed"
    assert "- mosquitto: is not installed" in text


def test_every_peer_says_what_it_promises_and_how_it_is_set_up() -> None:
    names = [peer.name for peer in PEERS]
    assert len(set(names)) == len(names)
    assert all(peer.guarantee and peer.settings and peer.transport for peer in PEERS)
