from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from ttrl_env.errors import ConfigError
from ttrl_env.machine.folder_lock import LOCK_FILE, folder_lock

HOLD = """
import sys
from ttrl_env.machine.folder_lock import folder_lock
with folder_lock(sys.argv[1], "output_dir"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_kept_out_until_the_first_is_killed(tmp_path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ConfigError, match=rf"output_dir: another process is writing to {tmp_path}"),
            folder_lock(tmp_path, "output_dir"),
        ):
            pass
        holder.kill()
    with folder_lock(tmp_path, "output_dir"):
        assert (tmp_path / LOCK_FILE).is_file()


def test_a_folder_that_cannot_be_made_is_named(tmp_path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match=r"output_dir: expected a folder that can be written to: .*file"),
        folder_lock(tmp_path / "file" / "run", "output_dir"),
    ):
        pass


def test_a_file_system_without_locks_is_told_of_and_used(tmp_path, monkeypatch) -> None:
    def no_locks(*_) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (
        pytest.warns(RuntimeWarning, match="cannot be locked .No locks available."),
        folder_lock(tmp_path, "x"),
    ):
        pass


@pytest.mark.timeout(20)
def test_a_pipe_in_the_place_of_the_lock_is_named_and_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / ".lock")
    message = r"output_dir: .*\.lock is no regular file"
    with pytest.raises(ConfigError, match=message), folder_lock(tmp_path, "output_dir"):
        pass
