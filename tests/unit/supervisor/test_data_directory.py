"""One server, one directory."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from imfast.errors import AlreadyRunningError, DataDirectoryError
from imfast.supervisor.data_directory import DataDirectory


def test_missing_directory_is_made_for_its_owner_only(tmp_path: Path):
    path = tmp_path / "deep" / "data"
    with DataDirectory(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_second_server_is_refused_with_the_pid_of_the_first(tmp_path: Path):
    with DataDirectory(tmp_path):
        second = DataDirectory(tmp_path)
        with pytest.raises(AlreadyRunningError, match=f"pid {os.getpid()}$"):
            second.__enter__()
    with second:
        pass


def test_lock_is_not_inherited(tmp_path: Path):
    with DataDirectory(tmp_path) as directory:
        assert not os.get_inheritable(directory._lock)


def test_directory_below_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(DataDirectoryError, match=r"cannot be used: .*file: File exists"):
        DataDirectory(tmp_path / "file" / "data").__enter__()


def test_path_that_is_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(DataDirectoryError, match=r"cannot be used: .*file: File exists"):
        DataDirectory(tmp_path / "file").__enter__()


def test_directory_nobody_can_write_to_is_refused():
    # Not a matter of permissions, which the superuser would pass.
    with pytest.raises(DataDirectoryError, match="cannot be used"):
        DataDirectory(Path("/proc/imfast")).__enter__()
