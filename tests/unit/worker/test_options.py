"""Options as the engine gets them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imfast.config.load import load
from imfast.config.worker_document import Layout, WorkerDocument, WorkerSockets
from imfast.worker.options import engine_options, rate_and_burst

ROOT = Path(__file__).parents[3]


def document(**flags: str) -> WorkerDocument:
    settings = load({"data_dir": "/d", "connections_max": "9000", **flags}).settings
    return WorkerDocument(
        index=0,
        incarnation=1,
        server="n1.w0",
        workers=1,
        partitions=(0,),
        supervisor_pid=1,
        link_paths=("/d/run/w0.sock",),
        fds=WorkerSockets(http=(5,), tcp=(7,), links=9, control=10, routes=11),
        layout=Layout(partitions=1, generation=1, hash_secret="00" * 16),
        options=settings.document(),
    )


KNOBS = [
    ("accept_rate", "7", "accept_rate", (7, 14)),
    ("address_rate", "0", "judge_addresses", False),
    ("accepts_per_tick", "7", "accepts_per_tick", 7),
    ("authenticate_timeout_s", "7s", "authenticate_ms", 7000),
    ("batch_bytes_max", "7MiB", "batch_bytes_max", 7 << 20),
    ("batch_commands_max", "77", "batch_commands_max", 77),
    ("catch_up_page_bytes", "70KiB", "catch_up_bytes", 70 << 10),
    ("catch_up_page_rows", "77", "catch_up_rows", 77),
    ("checkpoint_s", "2.5s", "checkpoint_ms", 2500),
    ("coalesce", "7", "coalesce_ms", 7),
    ("connection_rate", "7", "connection_rate", (7, 14)),
    ("dedupe_window_s", "2h", "dedupe_window_ms", 7_200_000),
    ("events_per_tick", "77", "events_per_tick", 77),
    ("fan_out_slice_s", "0.5ms", "fan_out_slice_us", 500),
    ("fan_out_slice_sockets", "77", "fan_out_slice_sockets", 77),
    ("group_rate", "7", "group_rate", (7, 14)),
    ("group_members_max", "77", "group_members_max", 77),
    ("device_policy", "newest", "device_policy", "newest"),
    ("cursor_log_s", "2s", "cursor_log_ms", 2000),
    ("receipt_members_max", "77", "receipt_members_max", 77),
    ("heartbeat_s", "17s", "heartbeat_ms", 17_000),
    ("inbox_bytes_max", "7MiB", "inbox_bytes_max", 7 << 20),
    ("link_queue_bytes", "7MiB", "link_queue_bytes", 7 << 20),
    ("page_items_default", "7", "page_items_default", 7),
    ("page_items_max", "77", "page_items_max", 77),
    ("requests_in_flight_max", "77", "requests_in_flight_max", 77),
    ("rows_memory_bytes", "7MiB", "rows_memory_bytes", 7 << 20),
    ("archive_batch_commands", "777", "archive_batch_commands", 777),
    ("archive_cache_bytes", "9MiB", "archive_cache_bytes", 9 << 20),
    ("segment_bytes", "7MiB", "segment_bytes", 7 << 20),
    ("log_keep_bytes", "3MiB", "log_keep_bytes", 3 << 20),
    ("send_queue_bytes", "7MiB", "send_queue_bytes", 7 << 20),
    ("send_queue_frames", "77", "send_queue_frames", 77),
    ("user_rate", "7", "user_rate", (7, 14)),
]


@pytest.mark.parametrize(("option", "text", "key", "expected"), KNOBS)
def test_option_reaches_the_engine_in_its_unit(
    option: str, text: str, key: str, expected: object
) -> None:
    before = dict(engine_options(document()))
    after = dict(engine_options(document(**{option: text})))
    assert after[key] == expected
    assert {name for name in after if after[name] != before[name]} == {key}


def test_rate_holds_so_many_seconds_worth_and_at_least_one() -> None:
    assert rate_and_burst(100, 2.5) == (100, 250)
    assert rate_and_burst(100, 0.001) == (100, 1)
    assert rate_and_burst(0, 2.0) == (0, 1)


def test_trusted_networks_reach_the_engine_as_prefixes_of_ipv6() -> None:
    options = engine_options(document(address_trusted="10.1.0.0/16, 2001:db8::/32, 192.0.2.1"))
    mapped = bytes(10) + b"\xff\xff"
    assert options["address_trusted"] == [
        (mapped + bytes([10, 1, 0, 0]), 112),
        (bytes.fromhex("20010db8") + bytes(12), 32),
        (mapped + bytes([192, 0, 2, 1]), 128),
    ]
    assert engine_options(document(address_trusted="none"))["address_trusted"] == []


def test_engine_is_told_what_it_asks_for_and_nothing_else():
    source = (ROOT / "rust/python/src/options.rs").read_text()
    [fields] = re.findall(r"struct Options \{(.*?)\}", source, re.DOTALL)
    assert set(engine_options(document())) == set(re.findall(r"^\s+(\w+):", fields, re.MULTILINE))


def test_page_by_default_is_no_longer_than_the_longest():
    from imfast.errors import ConfigError

    with pytest.raises(ConfigError, match="page_items_default: 50: at most page_items_max"):
        load({"page_items_max": "20"})
