"""The tests' own reader of strace's output."""

from __future__ import annotations

from tests.support.strace import Call, parse

OUTPUT = r"""
10 1763899999.000001 read(5<TCP:[127.0.0.1:80->127.0.0.1:400]>, "a) = b", 64) = 6
11 1763899999.000002 fdatasync(7</data/p0/1.seg> <unfinished ...>
10 1763899999.000003 write(5<TCP:[127.0.0.1:80->127.0.0.1:400]>, "{\"sent\"}", 10 <unfinished ...>
11 1763899999.000004 <... fdatasync resumed>) = 0
10 1763899999.000005 <... write resumed>)  = 10
10 1763899999.000006 read(5<TCP:[127.0.0.1:80->127.0.0.1:400]>, 0x7f, 64) = -1 EAGAIN
10 1763899999.000007 pwrite64(7</data/p0/1.seg>, "x", 1, 9 <unfinished ...>
10 1763899999.000008 +++ killed by SIGKILL +++
""".strip("\n")


def test_calls_are_read_whole_and_in_pieces() -> None:
    socket = "5<TCP:[127.0.0.1:80->127.0.0.1:400]>"
    read, sync, write, again = parse(OUTPUT)
    assert read == Call(10, "read", f'{socket}, "a) = b", 64', "6", 0, 0)
    assert sync == Call(11, "fdatasync", "7</data/p0/1.seg>", "0", 1, 3)
    assert write == Call(10, "write", socket + r', "{\"sent\"}", 10', "10", 2, 4)
    assert (again.returned, read.returned) == (-1, 6)
    assert read.file == "TCP:[127.0.0.1:80->127.0.0.1:400]"
    assert sync.file == "/data/p0/1.seg"


def test_call_that_never_returned_is_left_out() -> None:
    assert "pwrite64" not in {call.name for call in parse(OUTPUT)}
