"""The regression guard: what it catches, what it lets pass, and that counting has no noise."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tools.guard.__main__ import STORED, Guard
from tools.guard.build import materialise
from tools.guard.callgrind import CountError, count_labelled, count_within
from tools.guard.counts import Counts
from tools.guard.repository import Repository
from tools.guard.verdict import judge

ROOT = Path(__file__).parents[3]


def counts(**functions: float) -> Counts:
    return Counts("sources", {"rustc": "1"}, functions)


# Verdict


def test_function_that_takes_more_than_the_limit_is_refused():
    verdict = judge(counts(decode=100, encode=100), counts(decode=105.1, encode=105), {})
    assert [row.name for row in verdict.refused] == ["decode"]
    assert "Instructions-Waived: decode: <why this is worth it>" in verdict.lines("HEAD^")


def test_waiver_lets_its_function_pass_and_no_other():
    verdict = judge(counts(a=100, b=100), counts(a=120, b=120), {"a": "checks UTF-8"})
    assert [row.name for row in verdict.refused] == ["b"]
    assert any(line.endswith("waived: checks UTF-8") for line in verdict.lines("HEAD^"))


def test_function_that_is_not_counted_any_more_needs_a_waiver():
    assert not judge(counts(a=100, b=100), counts(a=100), {}).passed
    assert judge(counts(a=100, b=100), counts(a=100), {"b": "is gone"}).passed


def test_new_and_faster_functions_pass():
    verdict = judge(counts(a=100), counts(a=50, b=7), {})
    assert verdict.passed
    assert [row.state for row in verdict.rows] == ["faster", "new"]


def test_counts_survive_the_file():
    before = counts(a=1.25, b=3)
    assert Counts.from_json(before.to_json()) == before


# Repository


class Project:
    """A repository with something to count in it: its counts stand in `rust/micro/counts`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "-q", "-b", "main")
        for path in ("rust/micro/Cargo.toml", "core_ext/build.py", "spec/wire.md"):
            self.write(path, "")
        self.write("rust/micro/counts", "decode 100")
        self.commit("First")
        self.guard = Guard(Repository(root), root / "target", root)

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=self.root, check=True)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    def read_counts(files: dict[str, bytes], _target: Path) -> dict[str, float]:
        name, count = files["rust/micro/counts"].decode().split()
        if count == "broken":
            raise CountError("does not build")
        return {name: float(count)}

    monkeypatch.setattr("tools.guard.__main__.counts_of", read_counts)
    (tmp_path / ".gitignore").write_text("target\n")
    return Project(tmp_path)


def test_commit_that_slows_a_function_down_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str]
):
    project.write("rust/micro/counts", "decode 110")
    project.commit("Slower")
    assert project.guard.check(None) == 1
    assert "+10.0%  slower" in capsys.readouterr().out


def test_change_that_is_not_committed_is_compared_with_the_last_commit(project: Project):
    project.write("rust/micro/counts", "decode 110")
    assert project.guard.check(None) == 1
    project.write("rust/micro/counts", "decode 104")
    assert project.guard.check(None) == 0


def test_trailer_of_the_commit_waives(project: Project, capsys: pytest.CaptureFixture[str]):
    project.write("rust/micro/counts", "decode 110")
    project.commit("Slower\n\nWhy.\n\nInstructions-Waived: decode: checks more")
    assert project.guard.check(None) == 0
    assert "waived: checks more" in capsys.readouterr().out


def test_waiver_without_a_reason_is_none(project: Project):
    project.write("rust/micro/counts", "decode 110")
    project.commit("Slower\n\nInstructions-Waived: decode:")
    assert project.guard.check(None) == 1


def test_trailer_holds_for_its_own_commit_only(project: Project):
    project.write("rust/micro/counts", "decode 110")
    project.commit("Slower\n\nInstructions-Waived: decode: checks more")
    project.write("rust/micro/counts", "decode 120")
    project.commit("Slower again")
    assert project.guard.check(None) == 1


def test_base_further_back_sees_the_sum(project: Project):
    for count in (104, 108):
        project.write("rust/micro/counts", f"decode {count}")
        project.commit("A little")
        assert project.guard.check(None) == 0
    assert project.guard.check("HEAD~2") == 1


def test_commit_elsewhere_counts_nothing(project: Project, capsys: pytest.CaptureFixture[str]):
    project.write("rust/micro/counts", "decode broken")
    project.commit("Broken")
    project.write("README.md", "new")
    project.write("rust/wire/tests/new.rs", "a test")
    project.commit("Elsewhere")
    assert project.guard.check(None) == 0
    assert "nothing to compare" in capsys.readouterr().out


def test_first_commit_and_broken_parent_have_nothing_to_compare_with(project: Project):
    assert project.guard.check(None) == 0
    project.write("rust/micro/counts", "decode broken")
    project.commit("Broken")
    project.write("rust/micro/counts", "decode 900")
    assert project.guard.check(None) == 0


def test_unpacked_sources_without_a_history_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert Guard(Repository(tmp_path), tmp_path / "target", tmp_path).check(None) == 0
    assert "no clone" in capsys.readouterr().out


def test_stored_counts_of_the_parent_spare_its_build(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    project.guard.update()
    project.commit("Store")
    shutil.rmtree(project.root / "target")
    project.write("rust/micro/counts", "decode 110")
    built = []

    def count_once(files: dict[str, bytes], _target: Path) -> dict[str, float]:
        built.append(files["rust/micro/counts"])
        return {"decode": 110.0}

    monkeypatch.setattr("tools.guard.__main__.counts_of", count_once)
    assert project.guard.check(None) == 1
    assert built == [b"decode 110"]


def test_counts_of_other_tools_are_not_compared_with(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    project.guard.update()
    stored = Counts.from_json((project.root / STORED).read_text())
    other = Counts(stored.sources, {"rustc": "0.1"}, {"decode": 1.0})
    project.write(STORED, other.to_json())
    project.commit("Store")
    project.write("rust/micro/counts", "decode 104")
    assert project.guard.check(None) == 0


def test_files_that_are_equal_keep_their_time(tmp_path: Path):
    materialise({"a/b": b"1", "c": b"2"}, tmp_path)
    before = (tmp_path / "a/b").stat().st_mtime_ns
    materialise({"a/b": b"1", "d": b"3"}, tmp_path)
    assert (tmp_path / "a/b").stat().st_mtime_ns == before
    found = sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert found == ["a/b", "d"]


# Counting

PROGRAM = """
#[path = "{callgrind}"]
mod callgrind;

fn main() {{
    let bytes: Vec<u8> = (0..4096u32).map(|n| n as u8).collect();
    callgrind::counted("nothing", 1, || {{}});
    callgrind::counted("sum", 100, || {{
        for _ in 0..100 {{
            for byte in std::hint::black_box(&bytes).iter().take({bytes}) {{
                std::hint::black_box(*byte);
            }}
        }}
    }});
    println!("{{}}", u8::from(callgrind::is_valgrind()));
}}
"""


def program(folder: Path, name: str, *, size: int) -> list[str]:
    """A program with one hot function, which looks at `size` bytes."""
    callgrind = ROOT / "rust/micro/src/callgrind.rs"
    source = folder / f"{name}.rs"
    source.write_text(PROGRAM.format(callgrind=callgrind, bytes=size))
    command = ["rustc", "--edition", "2024", "-O", "-o", str(folder / name), str(source)]
    subprocess.run(command, check=True)
    return [str(folder / name)]


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_slower_function_is_caught_and_the_same_one_counts_the_same(tmp_path: Path):
    quick = program(tmp_path, "quick", size=1000)
    slow = program(tmp_path, "slow", size=1100)
    room = tmp_path / "room"
    first, again = (Counts("", {}, count_labelled(quick, room)) for _ in range(2))
    slower = Counts("", {}, count_labelled(slow, room))
    assert first == again, "counting has noise"
    assert first.functions["sum"] > 1000
    assert judge(first, again, {}).passed
    assert [row.name for row in judge(first, slower, {}).refused] == ["sum"]


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_function_that_does_not_exist_is_an_error(tmp_path: Path):
    with pytest.raises(CountError, match="no function is named"):
        count_within(program(tmp_path, "program", size=1), ["no_such_*"], tmp_path / "room")
