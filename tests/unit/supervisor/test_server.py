"""The supervisor as a process, with stub workers that are killed, paused, broken and stubborn."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imfast.config.keys import token_key
from imfast.config.load import load
from imfast.errors import ExitCode

from .conftest import StubServer, eventually, is_alive

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what it would mean is what is tested

Start = Callable[..., StubServer]


def pids(ready: dict[str, Any]) -> list[int]:
    return [worker["pid"] for worker in ready["workers"]]


def test_ready_file_has_exactly_what_the_contract_says(start: Start):
    server = start()
    ready = server.ready()
    assert set(ready) == {"pid", "ports", "workers"}
    assert ready["pid"] == server.process.pid
    assert set(ready["ports"]) == {"http", "tcp", "admin"}
    assert all(0 < port < 65536 for port in ready["ports"].values())
    first, second = ready["workers"]
    assert set(first) == {"server", "pid", "partitions", "epoch"}
    assert (first["server"], first["partitions"], first["epoch"]) == ("n1.w0", [0, 2], 1)
    assert (second["server"], second["partitions"], second["epoch"]) == ("n1.w1", [1, 3], 1)
    assert all(is_alive(pid) for pid in pids(ready))


def test_killed_worker_is_replaced_and_the_ready_file_rewritten(start: Start):
    server = start()
    before = server.ready()
    os.kill(before["workers"][0]["pid"], signal.SIGKILL)
    after = server.ready_with(lambda ready: pids(ready)[0] != pids(before)[0])
    assert pids(after)[1] == pids(before)[1]
    assert after["workers"][0]["epoch"] == 2
    assert after["ports"] == before["ports"]
    assert not is_alive(pids(before)[0])
    status = json.loads(server.admin("/v1/status")[1])
    assert [worker["restarts"] for worker in status["workers"]] == [1, 0]


def named(name: str, pid: int) -> set[int]:
    """The children of `pid` that are called so."""
    present = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return {one for one in present if command_of(one) == name}


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children(pid: int) -> set[int]:
    """The workers, those that wait among them."""
    return named("imfast-worker", pid)


def three(present: set[int]) -> set[int] | None:
    """Two workers and the spare."""
    return present if len(present) == 3 else None


def test_dead_worker_is_replaced_by_one_that_was_waiting(start: Start):
    server = start()
    before = server.ready()
    present = eventually(lambda: three(children(server.process.pid)))
    [spare] = present - set(pids(before))
    os.kill(pids(before)[1], signal.SIGKILL)
    after = server.ready_with(lambda ready: pids(ready)[1] != pids(before)[1])
    assert pids(after)[1] == spare
    eventually(lambda: len(children(server.process.pid)) == 3)


def test_spare_that_dies_is_no_loss(start: Start):
    server = start()
    before = server.ready()
    present = eventually(lambda: three(children(server.process.pid)))
    [spare] = present - set(pids(before))
    os.kill(spare, signal.SIGKILL)
    eventually(lambda: not is_alive(spare))
    assert server.ready() == before
    os.kill(pids(before)[0], signal.SIGKILL)
    after = server.ready_with(lambda ready: pids(ready)[0] != pids(before)[0])
    assert pids(after)[1] == pids(before)[1]


def test_server_without_a_spare_starts_a_new_process_for_a_dead_worker(start: Start):
    server = start(spare_workers=0)
    before = server.ready()
    os.kill(pids(before)[1], signal.SIGKILL)
    after = server.ready_with(lambda ready: pids(ready)[1] != pids(before)[1])
    assert children(server.process.pid) == set(pids(after))


def test_all_dead_workers_are_replaced_by_those_that_were_waiting(start: Start):
    server = start(spare_workers=2)
    before = server.ready()
    present = eventually(
        lambda: now if len(now := children(server.process.pid)) == 4 else None,
    )
    for pid in pids(before):
        os.kill(pid, signal.SIGKILL)
    after = server.ready_with(lambda ready: not set(pids(ready)) & set(pids(before)))
    assert set(pids(after)) == present - set(pids(before))
    eventually(lambda: len(children(server.process.pid)) == 4)


def test_worker_that_keeps_dying_is_restarted_ever_later(start: Start):
    server = start()
    for incarnation in range(2, 6):
        victim = pids(server.ready())[0]
        os.kill(victim, signal.SIGKILL)
        server.ready_with(lambda ready, old=victim: pids(ready)[0] != old)
        assert server.ready()["workers"][0]["epoch"] == incarnation
    delays = [
        json.loads(line)["delay_s"]
        for line in server.log.splitlines()
        if '"worker_restart_delayed"' in line
    ]
    assert len(delays) == 3, "the first restart is at once"
    assert 0.125 <= delays[0] <= 0.25
    assert 0.25 <= delays[1] <= 0.5
    assert 0.5 <= delays[2] <= 1.0


def test_paused_worker_is_killed_and_replaced(start: Start):
    server = start()
    before = server.ready()
    paused = pids(before)[1]
    os.kill(paused, signal.SIGSTOP)
    began = time.monotonic()
    after = server.ready_with(lambda ready: pids(ready)[1] != paused)
    assert time.monotonic() - began >= 1.5, "replaced before its heartbeat was missed"
    assert not is_alive(paused)
    assert pids(after)[0] == pids(before)[0]
    assert '"worker_hangs"' in server.log


def test_worker_that_starts_slowly_is_not_taken_for_hung_once_it_is_ready(start: Start):
    server = start("slow")
    port = server.ready()["ports"]["http"]
    # The greeting comes behind the first beat.
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        assert client.recv(100)
    assert '"worker_hangs"' not in server.log


def test_connections_made_while_a_worker_is_away_are_served(start: Start):
    server = start("late")
    eventually(lambda: {server.greeting() for _ in range(20)} == {"n1.w0", "n1.w1"})
    victim = pids(server.ready())[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: not is_alive(victim))
    # Half of these arrive at the dead worker's listener: none is reset, its sibling answers.
    assert {server.greeting() for _ in range(20)} == {"n1.w1"}
    server.ready_with(lambda ready: pids(ready)[0] != victim)
    # The sibling has let go again: both serve.
    eventually(lambda: {server.greeting() for _ in range(20)} == {"n1.w0", "n1.w1"})


def test_workers_die_with_a_killed_supervisor(start: Start):
    server = start()
    workers = pids(server.ready())
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    eventually(lambda: not any(map(is_alive, workers)), timeout_s=3)


def test_killed_server_starts_again_on_the_same_ports_and_directory(start: Start):
    first = start()
    ready = first.ready()
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    second = start(port=ready["ports"]["http"], tcp_port=ready["ports"]["tcp"])
    again = second.ready_with(lambda ready: ready["pid"] == second.process.pid)
    assert again["ports"]["http"] == ready["ports"]["http"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains_and_exits_with_zero(start: Start, number: signal.Signals):
    server = start()
    ready = server.ready()
    server.process.send_signal(number)
    assert server.exit_code() == 0
    assert not any(map(is_alive, pids(ready)))
    assert not server.ready_file.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ready["ports"]["http"]), timeout=5)


def test_worker_that_ignores_the_drain_is_killed_when_its_time_is_over(start: Start):
    server = start("stubborn", drain_s="500ms")
    workers = pids(server.ready())
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.exit_code() == 0
    assert time.monotonic() - began >= 0.5
    assert not any(map(is_alive, workers))


def test_second_signal_ends_everything_at_once(start: Start):
    server = start("stubborn", drain_s="60s")
    workers = pids(server.ready())
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: '"draining"' in server.log)
    server.process.send_signal(signal.SIGINT)
    assert server.exit_code(5) == 128 + signal.SIGINT
    assert not any(map(is_alive, workers))


def test_fatal_reason_of_a_worker_stops_the_server_with_its_exit_code(start: Start):
    server = start("fatal")
    assert server.exit_code() == ExitCode.DATA_DAMAGED == 7
    assert "imfast: worker n1.w" in server.log
    assert "partition 0: segment 7 is damaged" in server.log
    assert not server.ready_file.exists()


def test_worker_that_never_starts_stops_the_server(start: Start):
    server = start("exit")
    assert server.exit_code() == ExitCode.WORKER_FAILED == 8
    assert "ended 3 times before it was ready, last with exit code 3" in server.log


def test_worker_that_talks_nonsense_is_replaced(start: Start):
    server = start("garbage")
    assert [worker["epoch"] for worker in server.ready()["workers"]] == [2, 2]
    assert '"worker_control_broken"' in server.log


def test_busy_port_is_refused(start: Start):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for option in ("port", "tcp_port", "admin_port"):
            server = start(**{option: port})
            assert server.exit_code() == ExitCode.PORT_BUSY == 3
            assert f"imfast: option {option}: 127.0.0.1 port {port}: in use" in server.log


def test_second_server_on_the_directory_is_refused_with_the_pid(start: Start):
    first = start()
    first.ready()
    second = start()
    assert second.exit_code() == ExitCode.ALREADY_RUNNING == 5
    assert f"in use by the server with pid {first.process.pid}" in second.log
    assert first.ready()["pid"] == first.process.pid, "the first one's ready file is untouched"


def test_newer_data_directory_is_refused(start: Start, tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "layout.json").write_text('{"format": 3}')
    server = start()
    assert server.exit_code() == ExitCode.DATA_DIRECTORY == 4
    assert "has format 3" in server.log


def test_other_number_of_partitions_is_refused(start: Start):
    first = start(partitions=4)
    first.ready()
    first.process.send_signal(signal.SIGTERM)
    assert first.exit_code() == 0
    second = start(partitions=2)
    assert second.exit_code() == ExitCode.DATA_DIRECTORY
    assert "laid out for 4 partitions and option partitions asks for 2" in second.log


def test_development_secret_is_refused_where_others_reach_it(start: Start, tmp_path: Path):
    server = start(host=EVERYWHERE)
    assert server.exit_code() == ExitCode.INSECURE_SECRET == 6
    assert "development secret" in server.log
    assert not (tmp_path / "data").exists(), "refused before anything was written"


def test_explicit_secret_may_serve_others(start: Start, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 32)
    server = start(host=EVERYWHERE, jwt_secret_file=secret)
    assert server.ready()
    assert not (tmp_path / "data" / "secret.key").exists()


def test_more_connections_than_open_files_is_refused(start: Start):
    server = start(connections_max=4_000_000)
    assert server.exit_code() == ExitCode.USAGE == 2
    assert "option connections_max: 4000000: this process may open" in server.log


def test_ready_file_that_can_never_be_written_is_refused(start: Start, tmp_path: Path):
    server = start(ready_file=tmp_path / "nowhere" / "ready.json")
    assert server.exit_code() == ExitCode.USAGE
    assert "option ready_file:" in server.log
    assert not (tmp_path / "data").exists()


def test_data_directory_is_private_and_has_the_secret(start: Start, tmp_path: Path):
    start().ready()
    data = tmp_path / "data"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()}
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert modes == {"lock": 0o600, "layout.json": 0o600, "secret.key": 0o600, "run": 0o700}
    assert len(token_key(load({"data_dir": str(data)}).settings)) >= 32


def test_admin_answers_health_readiness_and_status(start: Start):
    server = start()
    server.ready()
    assert server.admin("/healthz") == (200, "ok\n")
    assert server.admin("/readyz") == (200, "ready\n")
    code, text = server.admin("/v1/status")
    status = json.loads(text)
    assert code == 200
    assert status["ready"] is True
    assert status["partitions"] == 4
    assert [worker["state"] for worker in status["workers"]] == ["ready", "ready"]
    assert [worker["epochs"] for worker in status["workers"]] == [
        {"0": 1, "2": 1},
        {"1": 1, "3": 1},
    ]
    assert server.admin("/nowhere")[0] == 404


def test_readiness_says_who_is_missing(start: Start):
    server = start("late")
    os.kill(pids(server.ready())[1], signal.SIGKILL)
    code, text = eventually(
        lambda: answer if (answer := server.admin("/readyz"))[0] == 503 else None
    )
    assert (code, text) == (503, "waiting for n1.w1\n")
    eventually(lambda: server.admin("/readyz")[0] == 200)


def test_garbage_on_the_admin_port_costs_only_itself(start: Start):
    server = start()
    port = server.ready()["ports"]["admin"]
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(os.urandom(65536))
        while connection.recv(65536):
            pass
    assert server.admin("/healthz") == (200, "ok\n")
