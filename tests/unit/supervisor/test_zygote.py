"""The process that workers are forked from, under a real supervisor with stub workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from imfast.errors import ExitCode
from imfast.supervisor.zygote import Zygote, ZygoteError

from .conftest import StubServer, eventually, is_alive
from .test_server import children, named, pids

Start = Callable[..., StubServer]
STUB = Path(__file__).with_name("stub_worker.py")


def zygote_of(server: StubServer) -> int:
    [pid] = eventually(lambda: named("imfast-zygote", server.process.pid))
    return pid


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def replaced(server: StubServer, index: int, before: dict[str, Any]) -> dict[str, Any]:
    return server.ready_with(lambda ready: pids(ready)[index] != pids(before)[index])


def test_worker_is_the_supervisors_child_in_a_group_of_its_own(start: Start):
    server = start()
    for pid in pids(server.ready()):
        assert status_of(pid)["PPid"] == str(server.process.pid)
        assert os.getpgid(pid) == pid


def test_killed_zygote_ends_no_worker_and_is_replaced_when_one_is_needed(start: Start):
    server = start(spare_workers=0)
    before = server.ready()
    first = zygote_of(server)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: '"zygote_died"' in server.log)
    assert server.ready() == before
    assert all(map(is_alive, pids(before)))
    os.kill(pids(before)[0], signal.SIGKILL)
    replaced(server, 0, before)
    assert zygote_of(server) != first


def test_zygote_that_hangs_is_replaced(start: Start):
    server = start(spare_workers=0)
    before = server.ready()
    hanging = zygote_of(server)
    os.kill(hanging, signal.SIGSTOP)
    os.kill(pids(before)[1], signal.SIGKILL)
    replaced(server, 1, before)
    assert not is_alive(hanging)
    assert zygote_of(server) != hanging


def test_zygote_that_cannot_load_stops_the_server(start: Start):
    server = start("unloadable")
    assert server.exit_code() == ExitCode.WORKER_FAILED
    assert "ended 3 times before it was ready, last with exit code 5" in server.log


def test_nothing_outlives_a_killed_supervisor(start: Start):
    server = start()
    server.ready()
    eventually(lambda: len(children(server.process.pid)) == 3)
    present = {*children(server.process.pid), zygote_of(server)}
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    eventually(lambda: not any(map(is_alive, present)), timeout_s=3)


def test_nothing_outlives_a_stopped_server(start: Start):
    server = start()
    server.ready()
    present = {*children(server.process.pid), zygote_of(server)}
    server.process.send_signal(signal.SIGTERM)
    assert server.exit_code() == 0
    assert not any(map(is_alive, present))


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    one = Zygote([sys.executable, str(STUB)])
    yield one
    one.close()


def descriptors(pid: int) -> dict[int, str]:
    found = {}
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found[int(one.name)] = str(one.readlink())
    return found


def test_worker_has_the_descriptors_that_it_was_given_and_no_others(zygote: Zygote):
    kept = os.memfd_create("given")
    leaked = os.memfd_create("leaked")
    os.set_inheritable(leaked, True)
    first = zygote.fork([kept])
    second = zygote.fork([kept])
    for child in (first, second):
        given = {0, 1, 2, *child.numbers.values()}
        # It may just be closing what the zygote had open.
        eventually(lambda pid=child.pid, given=given: set(descriptors(pid)) == given)
        found = descriptors(child.pid)
        assert found[child.numbers[kept]] == str(Path(f"/proc/self/fd/{kept}").readlink())
        assert found[0] == os.devnull
    for child in (first, second):
        child.document.close()  # it is not needed
        child.control.close()
        assert os.waitpid(child.pid, 0)[1] == 0
        os.close(child.watch)
    os.close(kept)
    os.close(leaked)


def test_stop_signals_wait_until_a_worker_has_handlers(zygote: Zygote):
    child = zygote.fork([])
    blocked = int(status_of(zygote._pid)["SigBlk"], 16)
    for number in (signal.SIGTERM, signal.SIGINT):
        assert blocked >> (number - 1) & 1
    child.document.close()
    child.control.close()
    os.waitpid(child.pid, 0)
    os.close(child.watch)


@pytest.mark.parametrize(
    ("program", "status"),
    [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL)],
)
def test_zygote_that_ends_before_it_forks_says_how(program: str, status: int):
    zygote = Zygote([sys.executable, "-c", program])
    for _ in range(2):
        with pytest.raises(ZygoteError) as failure:
            zygote.fork([])
        assert failure.value.status == status
    zygote.close()


def test_request_that_cannot_be_sent_says_what_is_wrong_and_ends_nothing(zygote: Zygote):
    with pytest.raises(OSError, match="Bad file descriptor"):
        zygote.fork([1 << 30])
    child = zygote.fork([])
    child.document.close()
    child.control.close()
    os.waitpid(child.pid, 0)
    os.close(child.watch)


def test_zygote_that_died_young_is_not_started_again_before_it_is_needed(zygote: Zygote):
    zygote.start()
    os.kill(zygote._pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while (status := zygote.revive()) is None:
        assert time.monotonic() < deadline
    assert status == -signal.SIGKILL
    assert zygote.revive() is None
    assert zygote._requests is None


SPLIT = """
import json, os, signal, sys
from imfast.supervisor.zygote import Zygote

STOP = (signal.SIGTERM, signal.SIGINT)

def be_zygote(requests, supervisor):
    said = {
        "supervisor": supervisor,
        "parent": os.getppid(),
        "group": os.getpgid(0) == os.getpid(),
        "input": os.readlink("/proc/self/fd/0"),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "default": [signal.getsignal(n) == signal.SIG_DFL for n in STOP],
        "path": sys.path[0] == given,
        "sockets": sum("socket" in os.readlink(f"/proc/self/fd/{fd}") for fd in (3, 4) if
            os.path.exists(f"/proc/self/fd/{fd}")),
    }
    print(json.dumps(said), flush=True)
    if "fail" in sys.argv:
        raise RuntimeError("it cannot")
    os._exit(7)

given = sys.path[0]
signal.signal(signal.SIGTERM, print)
zygote = Zygote()
zygote.split_off(be_zygote)
while (status := zygote.revive()) is None:
    pass
print(json.dumps([os.getpid(), status, sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))]))
"""


def test_zygote_that_is_split_off_is_as_a_program_of_its_own():
    run = subprocess.run(
        [sys.executable, "-c", SPLIT], capture_output=True, text=True, check=True, timeout=30
    )
    first, second = map(json.loads, run.stdout.splitlines())
    supervisor, status, mask = second
    assert first == {
        "supervisor": supervisor,
        "parent": supervisor,
        "group": True,
        "input": os.devnull,
        "blocked": sorted((signal.SIGTERM, signal.SIGINT)),
        "default": [True, True],
        "path": False,
        "sockets": 1,
    }
    assert (status, mask) == (7, [])


def test_zygote_that_fails_when_it_is_split_off_is_no_second_supervisor():
    run = subprocess.run(
        [sys.executable, "-c", SPLIT, "fail"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert len(run.stdout.splitlines()) == 2
    assert json.loads(run.stdout.splitlines()[1])[1] == 1
