"""Runs a server under strace and reads what it wrote.

The kernel stops a traced thread at both ends of a system call and strace writes one file for all
threads, so the order of its lines is an order in which things happened: a call whose end stands
before the beginning of another had returned before that one was entered.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["Call", "parse", "require_strace", "strace_command"]

# Long enough for any line that a test looks for.
STRING_BYTES = 4096


@dataclass(frozen=True)
class Call:
    """One system call. `begun` and `ended` are line numbers: see the module's text."""

    thread: int
    name: str
    arguments: str
    result: str
    begun: int
    ended: int

    @property
    def returned(self) -> int:
        """The number that it returned; -1 for an error."""
        found = re.match(r"-?\d+", self.result)
        return int(found[0]) if found else -1

    @property
    def file(self) -> str:
        """What its first argument is: ``TCP:[…]``, a path, ``anon_inode:[eventpoll]`` …"""
        found = re.match(r"-?\d+<(.*?)>(?:[,)]|$)", self.arguments)
        return found[1] if found else ""


def require_strace() -> None:
    """Skip where strace cannot trace, loudly; in CI that is a failure."""
    reason = None
    if shutil.which("strace") is None:
        reason = "strace is not installed"
    else:
        tried = subprocess.run(
            ["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True
        )
        if tried.returncode != 0:
            reason = f"strace may not trace here: {tried.stderr.strip()}"
    if reason is not None:
        assert os.environ.get("CI") != "true", f"this must run in CI, and {reason}"
        pytest.skip(f"NOT CHECKED who reads sockets and when acks are written: {reason}")


def strace_command(output: Path, *calls: str) -> list[str]:
    """The command that runs another one with its children and threads traced."""
    options = ["-f", "-ttt", "-yy", "-s", str(STRING_BYTES), "-e", "signal=none"]
    return ["strace", *options, "-e", f"trace={','.join(calls)}", "-o", str(output), "--"]


_LINE = re.compile(r"(?P<thread>\d+) +(?P<time>\d+\.\d+) (?P<rest>.*)", re.DOTALL)
_BEGUN = re.compile(r"(?P<name>\w+)\((?P<arguments>.*?) *<unfinished \.\.\.>$", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)", re.DOTALL)
_WHOLE = re.compile(r"(?P<name>\w+)\((?P<rest>.*)", re.DOTALL)
# The last `) = ` of a line: strings may contain one too.
_RESULT = re.compile(r"(?P<arguments>.*)\)\s+= (?P<result>.*)", re.DOTALL)


def parse(text: str) -> list[Call]:
    """Read strace's output; calls that never returned have no place in the result."""
    calls: list[Call] = []
    unfinished: dict[int, tuple[str, str, int]] = {}
    for number, line in enumerate(text.split("\n")):
        found = _LINE.fullmatch(line)
        if found is None:
            assert not line, f"line {number + 1} of strace is not understood: {line[:200]}"
            continue
        thread, rest = int(found["thread"]), found["rest"]
        if rest.startswith(("+++", "---")):
            continue
        if begun := _BEGUN.fullmatch(rest):
            unfinished[thread] = (begun["name"], begun["arguments"], number)
        elif resumed := _RESUMED.fullmatch(rest):
            name, arguments, began = unfinished.pop(thread)
            assert name == resumed["name"]
            result = _RESULT.fullmatch(resumed["rest"])
            if result is not None:
                calls.append(
                    Call(
                        thread,
                        name,
                        arguments + result["arguments"],
                        result["result"],
                        began,
                        number,
                    )
                )
        elif (whole := _WHOLE.fullmatch(rest)) and (
            result := _RESULT.fullmatch(whole["rest"])
        ) is not None:
            calls.append(
                Call(thread, whole["name"], result["arguments"], result["result"], number, number)
            )
    return calls
