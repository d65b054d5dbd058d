from __future__ import annotations

import os
from pathlib import Path

import pytest

from ttrl_env.machine.whole_files import replacing, write_whole


def test_a_file_is_replaced_when_all_is_written_and_no_draft_stays(tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    write_whole(file, "old")
    with replacing(file) as draft:
        draft.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert os.listdir(tmp_path) == ["report.md"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_what_is_interrupted_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    file = tmp_path / "report.png"
    write_whole(file, "old")

    def write_half() -> None:
        with replacing(file, tmp_path / ".report.png") as draft:
            draft.write_text("half of it")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.png"]


def test_an_error_of_the_disk_names_the_file_that_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        write_whole(tmp_path / "missing" / "report.md", "text")
    assert raised.value.filename == str(tmp_path / "missing" / "report.md")
