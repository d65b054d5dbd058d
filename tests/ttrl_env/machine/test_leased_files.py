"""Files that are mapped where they cannot be truncated, and copied elsewhere."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ttrl_env.machine.leased_files import read_file

LENGTH = 1 << 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * (LENGTH // 256))
    return path


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


def test_whoever_truncates_a_file_waits_until_its_content_is_freed(path: Path) -> None:
    expected = path.read_bytes()
    content = read_file(path, LENGTH)
    assert content is not None
    if not is_mapped(path):
        pytest.skip("this file system grants no leases")
    truncate = "import os, sys; print('now', flush=True); os.truncate(sys.argv[1], 0)"
    command = [sys.executable, "-c", truncate, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "now\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=0.3)
        assert content.tobytes() == expected
        del content
        assert other.wait(timeout=20) == 0
    assert not is_mapped(path)
    assert path.stat().st_size == 0


def test_several_readers_map_the_same_file(path: Path) -> None:
    first, second = (read_file(path, LENGTH) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("why", ["open for writing", "no leases"])
def test_a_file_that_may_change_is_copied(path: Path, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = path.read_bytes()
    if why == "no leases":
        monkeypatch.delattr(fcntl, "F_SETLEASE")
    with path.open("rb+") if why == "open for writing" else path.open("rb"):
        content = read_file(path, LENGTH)
    assert content is not None
    assert not is_mapped(path)
    os.truncate(path, 0)
    assert content.tobytes() == expected
    assert not content.flags.writeable


def test_a_file_of_another_length_has_no_content(path: Path) -> None:
    assert read_file(path, LENGTH - 1) is None
    os.truncate(path, 0)  # its lease has ended
    content = read_file(path, 0)
    assert content is not None
    assert content.size == 0
    with pytest.raises(FileNotFoundError):
        read_file(path.with_name("missing"), LENGTH)
